/** Open conversations. An answer keeps streaming while another chat is looked at. */

import { createChat, getChat, sendMessage } from "../api/client";
import { ApiError, messageOf } from "../api/errors";
import type { NewMessage } from "../api/types";
import { chatHref, navigate, route } from "../lib/router";
import { Store } from "../lib/store";
import { touchChat, upsertChat } from "./chats";
import { moveDraft, NEW_CHAT, returnDraft, settleDraft } from "./drafts";
import { type AssistantTurn, emptyAnswer, finish, grow, type Turn, turnsFrom } from "./turns";

export interface Conversation {
  load: "loading" | "ready" | "missing" | "failed";
  loadError: string | null;
  turns: readonly Turn[];
  /** An answer is on its way. */
  busy: boolean;
  /** Why the last message was not taken; its text is back in the draft. */
  failure: string | null;
}

const EMPTY: Conversation = { load: "ready", loadError: null, turns: [], busy: false, failure: null };

const conversations = new Map<string, Store<Conversation>>([[NEW_CHAT, new Store(EMPTY)]]);
const running = new Map<Store<Conversation>, AbortController>();

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
  try {
    const chat = await getChat(id);
    if (store.get().busy) return;
    store.update((now) => ({ ...now, load: "ready", loadError: null, turns: turnsFrom(chat.messages) }));
    const { messages: _, ...summary } = chat;
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

export function forgetConversation(id: string): void {
  stop(id);
  conversations.delete(id);
}

export function stop(key: string): void {
  const store = conversations.get(key);
  if (store) running.get(store)?.abort();
}

/** Creates the chat for a first message and moves the page, its state and its draft there. */
async function createFor(store: Store<Conversation>): Promise<string> {
  const chat = await createChat();
  upsertChat(chat);
  conversations.set(chat.id, store);
  conversations.set(NEW_CHAT, new Store(EMPTY));
  moveDraft(NEW_CHAT, chat.id);
  if (route.get().chatId === null) navigate(chatHref(chat.id));
  return chat.id;
}

/** Sends a message in the chat `key`, or in a new one, and streams the answer into its store. */
export async function send(key: string, message: NewMessage): Promise<void> {
  const store = conversation(key);
  if (store.get().busy) return;
  const before = store.get().turns;
  const controller = new AbortController();
  running.set(store, controller);
  const user: Turn = { role: "user", content: message.content };
  store.set({ ...EMPTY, turns: [...before, user, emptyAnswer()], busy: true });

  const answer = new AnswerWriter(store);
  let id = key;
  let accepted = false;
  let stopped: string | null = null;
  const takeBack = (failure: string | null): void => {
    answer.discard();
    store.set({ ...EMPTY, turns: before, failure });
    returnDraft(id, message.content);
  };
  try {
    if (key === NEW_CHAT) id = await createFor(store);
    const frames = sendMessage(id, message, controller.signal, () => {
      accepted = true;
      settleDraft(id);
      touchChat(id, before.length === 0 ? { title: interimTitle(message.content) } : {});
    });
    for await (const frame of frames) {
      answer.change((turn) => grow(turn, frame, performance.now()));
      if (frame.freehold?.title) touchChat(id, { title: frame.freehold.title });
    }
    answer.end({});
  } catch (error) {
    if (controller.signal.aborted) {
      if (accepted) answer.end({ finishReason: "abort" });
      else takeBack(null);
      if (id !== NEW_CHAT) stopped = id;
    } else if (accepted) {
      answer.end({ error: messageOf(error) });
    } else {
      takeBack(messageOf(error));
    }
  } finally {
    running.delete(store);
    store.update((now) => ({ ...now, busy: false }));
  }
  if (stopped && accepted) await refreshSummary(stopped);
  else if (stopped) await openConversation(stopped);
}

/** What a chat is called until the server has named it. */
function interimTitle(question: string): string {
  const line = question.trim().split("\n")[0] ?? "";
  return line.length > 60 ? `${line.slice(0, 60).trimEnd()}…` : line;
}

/** A stopped answer brings no closing frame, so the title is asked for. */
async function refreshSummary(id: string): Promise<void> {
  try {
    const { messages: _, ...chat } = await getChat(id);
    upsertChat(chat);
  } catch {
    // The list keeps what it has, and is read anew when the app is opened next.
  }
}

export function dismissFailure(key: string): void {
  conversation(key).update((now) => ({ ...now, failure: null }));
}

/** Gathers the tokens of one answer and shows them once per frame. */
class AnswerWriter {
  #turn: AssistantTurn = emptyAnswer();
  #scheduled = false;
  #closed = false;

  readonly #store: Store<Conversation>;

  constructor(store: Store<Conversation>) {
    this.#store = store;
  }

  change(next: (turn: AssistantTurn) => AssistantTurn): void {
    this.#turn = next(this.#turn);
    if (this.#scheduled) return;
    this.#scheduled = true;
    const show = (): void => {
      this.#scheduled = false;
      if (!this.#closed) this.#show();
    };
    if (document.visibilityState === "visible") requestAnimationFrame(show);
    else setTimeout(show, 250);
  }

  end(how: { finishReason?: string; error?: string }): void {
    this.#turn = finish(this.#turn, performance.now(), how);
    this.#closed = true;
    this.#show();
  }

  discard(): void {
    this.#closed = true;
  }

  #show(): void {
    this.#store.update((now) => ({ ...now, turns: [...now.turns.slice(0, -1), this.#turn] }));
  }
}
