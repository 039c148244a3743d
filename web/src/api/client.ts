/** The one place that talks to the server. Every function throws `ApiError` or `NetworkError`. */

import { ApiError, errorFrom, NetworkError } from "./errors";
import { readEvents } from "./sse";
import type { AnswerFrame, Chat, ChatPage, ChatWithMessages, Model, NewMessage, Session } from "./types";

interface Hooks {
  /** The session is no longer valid. */
  unauthorised: () => void;
  /** The server could not be reached. */
  unreachable: () => void;
}

let hooks: Hooks = { unauthorised: () => undefined, unreachable: () => undefined };
let csrfToken = "";

export function connectHooks(next: Hooks): void {
  hooks = next;
}

interface Call {
  method?: "GET" | "POST" | "PATCH" | "DELETE";
  body?: unknown;
  signal?: AbortSignal;
  /** Lets the request outlive the page. */
  keepalive?: boolean;
}

async function send(path: string, call: Call): Promise<Response> {
  const { method = "GET", body, signal, keepalive = false } = call;
  const headers = new Headers({ Accept: "application/json" });
  if (body !== undefined) headers.set("Content-Type", "application/json");
  if (method !== "GET") headers.set("X-CSRF-Token", csrfToken);
  const init: RequestInit = { method, headers, credentials: "same-origin", cache: "no-store", keepalive };
  if (body !== undefined) init.body = JSON.stringify(body);
  if (signal) init.signal = signal;
  try {
    return await fetch(path, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    hooks.unreachable();
    throw new NetworkError("The server did not answer.", { cause: error });
  }
}

/** A restarted server hands out new CSRF tokens, so a refused write is tried once more with a fresh one. */
async function request(path: string, call: Call = {}): Promise<Response> {
  let response = await send(path, call);
  if (response.status === 403 && (call.method ?? "GET") !== "GET") {
    await getSession();
    response = await send(path, call);
  }
  if (response.ok) return response;
  if (response.status === 401) hooks.unauthorised();
  throw await errorFrom(response);
}

async function json<T>(path: string, call: Call = {}): Promise<T> {
  const response = await request(path, call);
  try {
    return (await response.json()) as T;
  } catch (error) {
    if (call.signal?.aborted) throw error;
    throw new ApiError(response.status, "The server's answer could not be read.");
  }
}

const chatPath = (id: string): string => `/api/chats/${encodeURIComponent(id)}`;

export async function getSession(signal?: AbortSignal): Promise<Session> {
  const session = await json<Session>("/api/session", signal ? { signal } : {});
  csrfToken = session.csrf_token;
  return session;
}

export async function logout(): Promise<void> {
  await request("/api/logout", { method: "POST" });
}

export async function listModels(): Promise<Model[]> {
  return (await json<{ data: Model[] }>("/v1/models")).data;
}

export function listChats(before: string | null = null): Promise<ChatPage> {
  const query = new URLSearchParams({ limit: "50" });
  if (before) query.set("before", before);
  return json<ChatPage>(`/api/chats?${query}`);
}

export function createChat(): Promise<Chat> {
  return json<Chat>("/api/chats", { method: "POST", body: {} });
}

export function getChat(id: string): Promise<ChatWithMessages> {
  return json<ChatWithMessages>(chatPath(id));
}

export function renameChat(id: string, title: string): Promise<Chat> {
  return json<Chat>(chatPath(id), { method: "PATCH", body: { title } });
}

export async function deleteChat(id: string, keepalive = false): Promise<void> {
  await request(chatPath(id), { method: "DELETE", keepalive });
}

/**
 * Sends a message and yields the frames of the answer until `[DONE]`.
 *
 * `onAccepted` is called as soon as the server has taken the message. Aborting `signal` ends the generation on the
 * server too.
 */
export async function* sendMessage(
  id: string,
  message: NewMessage,
  signal: AbortSignal,
  onAccepted: () => void,
): AsyncGenerator<AnswerFrame> {
  const response = await request(`${chatPath(id)}/messages`, { method: "POST", body: message, signal });
  if (!response.body) throw new NetworkError("The answer had no body.");
  onAccepted();
  try {
    for await (const event of readEvents(response.body)) {
      if (event.data === "[DONE]") return;
      const frame = JSON.parse(event.data) as AnswerFrame;
      if (frame.error)
        throw new ApiError(200, frame.error.message ?? "The answer failed.", frame.error.code ?? null);
      yield frame;
    }
  } catch (error) {
    if (signal.aborted || error instanceof ApiError) throw error;
    hooks.unreachable();
    throw new NetworkError("The connection broke off.", { cause: error });
  }
  if (!signal.aborted) throw new NetworkError("The connection broke off.");
}
