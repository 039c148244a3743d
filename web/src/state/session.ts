/** Who is signed in, and whether the server can be reached. */

import { connectHooks, getSession, listModels, logout } from "../api/client";
import { messageOf, NetworkError } from "../api/errors";
import type { Model, Session } from "../api/types";
import { Store } from "../lib/store";
import { showToast } from "./toasts";

export type SessionState =
  | { phase: "loading" }
  | { phase: "signed-out" }
  | { phase: "failed"; message: string }
  | { phase: "ready"; session: Session };

/** `retryAt` is when the next attempt starts, in milliseconds since the epoch. */
export type Connection = { state: "online" } | { state: "lost"; retryAt: number };

export const sessionState = new Store<SessionState>({ phase: "loading" });
export const connection = new Store<Connection>({ state: "online" });
export const models = new Store<readonly Model[]>([]);

const reconnected = new Set<() => void>();
/** Calls `listener` whenever the server is back after it could not be reached. */
export function onReconnect(listener: () => void): void {
  reconnected.add(listener);
}

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 15_000;
let retryMs = FIRST_RETRY_MS;
let retryTimer: ReturnType<typeof setTimeout> | undefined;
let trying = false;

async function loadSession(): Promise<void> {
  try {
    const session = await getSession();
    sessionState.set({ phase: "ready", session });
    models.set(await listModels());
  } catch (error) {
    if (error instanceof NetworkError) throw error;
    // A 401 has already been told to `signedOut`.
    if (sessionState.get().phase === "loading")
      sessionState.set({ phase: "failed", message: messageOf(error) });
  }
}

function scheduleRetry(): void {
  clearTimeout(retryTimer);
  connection.set({ state: "lost", retryAt: Date.now() + retryMs });
  retryTimer = setTimeout(retryNow, retryMs);
  retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
}

/** Tries to reach the server at once. */
export async function retryNow(): Promise<void> {
  if (trying) return;
  trying = true;
  clearTimeout(retryTimer);
  const wasLost = connection.get().state === "lost";
  try {
    await loadSession();
  } catch {
    scheduleRetry();
    return;
  } finally {
    trying = false;
  }
  retryMs = FIRST_RETRY_MS;
  connection.set({ state: "online" });
  if (wasLost) for (const listener of reconnected) listener();
}

/** Asks again, from the page that says "not signed in" or "failed". */
export function checkAgain(): Promise<void> {
  sessionState.set({ phase: "loading" });
  return retryNow();
}

export async function signOut(): Promise<void> {
  try {
    await logout();
    sessionState.set({ phase: "signed-out" });
  } catch (error) {
    showToast({ text: `You are still signed in: ${messageOf(error)}` });
  }
}

export function startSession(): void {
  connectHooks({
    unauthorised: () => sessionState.set({ phase: "signed-out" }),
    unreachable: () => {
      if (connection.get().state === "online" && !trying) scheduleRetry();
    },
  });
  const hasten = (): void => {
    if (connection.get().state === "lost" && document.visibilityState === "visible") void retryNow();
  };
  addEventListener("online", hasten);
  document.addEventListener("visibilitychange", hasten);
  void retryNow();
}
