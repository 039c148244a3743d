/** Sending a message and following its answer, which goes on while another chat is looked at. */

import { createChat, getChat, sendMessage } from "../api/client";
import { ApiError, messageOf } from "../api/errors";
import type { AnswerFrame, NewMessage } from "../api/types";
import { chatHref, navigate, route } from "../lib/router";
import type { Store } from "../lib/store";
import { AnswerWriter } from "./answer-writer";
import { touchChat, upsertChat } from "./chats";
import { type Conversation, conversation, EMPTY, moveConversation, openConversation } from "./conversations";
import { moveDraft, NEW_CHAT, returnDraft, settleDraft } from "./drafts";
import { emptyAnswer, finish, grow, type Turn, turnsFrom } from "./turns";

const running = new Map<Store<Conversation>, AbortController>();

/** Ends the answer that is being written in a chat, here and on the server. */
export function stop(key: string): void {
  running.get(conversation(key))?.abort();
}

/** Creates the chat for a first message and moves the page, the conversation and the draft there. */
async function createFor(): Promise<string> {
  const chat = await createChat();
  upsertChat(chat);
  moveConversation(NEW_CHAT, chat.id);
  moveDraft(NEW_CHAT, chat.id);
  if (route.get().chatId === null) navigate(chatHref(chat.id));
  return chat.id;
}

/**
 * Sends a message in the chat `key`, or in a new one, and streams the answer into its conversation.
 *
 * A message that the server did not take returns to the draft.
 */
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
  let takenElsewhere = false;
  const onAccepted = (): void => {
    accepted = true;
    settleDraft(id);
    touchChat(id, before.length === 0 ? { title: interimTitle(message.content) } : {});
  };
  const takeBack = (failure: string | null): void => {
    answer.discard();
    store.set({ ...EMPTY, turns: before, failure, busy: true });
    returnDraft(id, message.content);
  };
  try {
    if (key === NEW_CHAT) id = await createFor();
    for await (const frame of framesOnceFree(id, message, controller.signal, onAccepted)) {
      answer.change((turn) => grow(turn, frame, performance.now()));
      if (frame.freehold?.title) touchChat(id, { title: frame.freehold.title });
    }
    answer.end({});
  } catch (error) {
    if (!controller.signal.aborted) {
      if (accepted) answer.end({ error: messageOf(error) });
      else takeBack(messageOf(error));
      takenElsewhere = isBusy(error);
    } else if (accepted) {
      answer.end({ finishReason: "abort" });
      await storedTurns(id);
    } else {
      const kept = id === NEW_CHAT ? null : await storedTurns(id);
      if (kept && kept.length > before.length) {
        answer.discard();
        store.update((now) => ({ ...now, turns: withStopped(kept) }));
        settleDraft(id);
      } else {
        takeBack(null);
      }
    }
  } finally {
    running.delete(store);
    store.update((now) => ({ ...now, busy: false }));
  }
  if (takenElsewhere) await openConversation(id);
}

const isBusy = (error: unknown): boolean => error instanceof ApiError && error.code === "chat_busy";

const BUSY_TRIES = 10;
const BUSY_WAIT_MS = 150;

/** A chat whose answer was stopped a moment ago is free again within a step: until then the server says 409. */
async function* framesOnceFree(
  id: string,
  message: NewMessage,
  signal: AbortSignal,
  onAccepted: () => void,
): AsyncGenerator<AnswerFrame> {
  for (let tries = 1; ; tries += 1) {
    try {
      yield* sendMessage(id, message, signal, onAccepted);
      return;
    } catch (error) {
      if (!isBusy(error) || signal.aborted || tries === BUSY_TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, BUSY_WAIT_MS));
      signal.throwIfAborted();
    }
  }
}

/** What a chat is called until the server has named it. */
function interimTitle(question: string): string {
  const line = question.trim().split("\n")[0] ?? "";
  return line.length > 60 ? `${line.slice(0, 60).trimEnd()}…` : line;
}

/** A stopped answer brings no closing frame, so the chat is asked what was kept; null where that fails. */
async function storedTurns(id: string): Promise<Turn[] | null> {
  try {
    const { messages, answering: _, ...chat } = await getChat(id);
    upsertChat(chat);
    return turnsFrom(messages);
  } catch {
    return null;
  }
}

/** Before its first token an answer leaves nothing behind on the server: the page says why there is none. */
function withStopped(turns: readonly Turn[]): Turn[] {
  if (turns.at(-1)?.role !== "user") return [...turns];
  return [...turns, finish(emptyAnswer(), 0, { finishReason: "abort" })];
}
