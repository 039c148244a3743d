/** The conversations that were opened, each in a store of its own. */

import { getChat } from "../api/client";
import { ApiError, messageOf } from "../api/errors";
import { Store } from "../lib/store";
import { upsertChat } from "./chats";
import { NEW_CHAT } from "./drafts";
import { type Turn, turnsFrom } from "./turns";

export interface Conversation {
  load: "loading" | "ready" | "missing" | "failed";
  loadError: string | null;
  turns: readonly Turn[];
  /** An answer is on its way. */
  busy: boolean;
  /** An answer that another window or device asked for is on its way. */
  elsewhere: boolean;
  /** Why the last message was not taken; its text is back in the draft. */
  failure: string | null;
}

export const EMPTY: Conversation = {
  load: "ready",
  loadError: null,
  turns: [],
  busy: false,
  elsewhere: false,
  failure: null,
};

const conversations = new Map<string, Store<Conversation>>([[NEW_CHAT, new Store(EMPTY)]]);

export function conversation(key: string): Store<Conversation> {
  let store = conversations.get(key);
  if (!store) {
    store = new Store<Conversation>({ ...EMPTY, load: "loading" });
    conversations.set(key, store);
  }
  return store;
}

/** Reads a chat from the server; one that is already shown is refreshed in place. */
export async function openConversation(id: string): Promise<void> {
  const store = conversation(id);
  if (store.get().busy) return;
  if (store.get().load === "failed") store.update((now) => ({ ...now, load: "loading" }));
  const shown = store.get().turns;
  try {
    const chat = await getChat(id);
    // What was asked here in the meantime is newer than what was read.
    if (store.get().busy || store.get().turns !== shown) return;
    const { messages, answering, ...summary } = chat;
    store.update((now) => ({
      ...now,
      load: "ready",
      loadError: null,
      turns: turnsFrom(messages),
      elsewhere: answering,
    }));
    upsertChat(summary);
  } catch (error) {
    if (store.get().busy) return;
    if (error instanceof ApiError && error.status === 404) {
      store.set({ ...EMPTY, load: "missing" });
    } else if (store.get().load !== "ready") {
      store.update((now) => ({ ...now, load: "failed", loadError: messageOf(error) }));
    }
  }
}

/** A new chat has got its id: the conversation moves there, and the page for a new chat is empty again. */
export function moveConversation(from: string, to: string): void {
  conversations.set(to, conversation(from));
  conversations.set(from, new Store(EMPTY));
}

export function forgetConversation(id: string): void {
  conversations.delete(id);
}

export function dismissFailure(key: string): void {
  conversation(key).update((now) => ({ ...now, failure: null }));
}
