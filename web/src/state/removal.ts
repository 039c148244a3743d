/** Deleting a chat: gone from the list at once, from the server when the time to undo is over. */

import { deleteChat } from "../api/client";
import { ApiError, messageOf } from "../api/errors";
import type { Chat } from "../api/types";
import { chatHref, navigate, route } from "../lib/router";
import { hideChat, titleOf, unhideChat } from "./chats";
import { forgetConversation } from "./conversations";
import { forgetDraft } from "./drafts";
import { stop } from "./sending";
import { showToast } from "./toasts";

const leaving = new Map<string, Chat>();

export function removeChat(chat: Chat): void {
  leaving.set(chat.id, chat);
  stop(chat.id);
  hideChat(chat.id);
  const wasOpen = route.get().chatId === chat.id;
  if (wasOpen) navigate("/");
  showToast({
    text: `Deleted “${titleOf(chat)}”`,
    action: { label: "Undo", run: () => restore(chat, wasOpen) },
    expired: () => void finishRemoval(chat),
  });
}

function restore(chat: Chat, reopen: boolean): void {
  leaving.delete(chat.id);
  unhideChat(chat);
  if (reopen) navigate(chatHref(chat.id));
}

async function finishRemoval(chat: Chat, keepalive = false): Promise<void> {
  if (!leaving.has(chat.id)) return;
  try {
    await deleteChat(chat.id, keepalive).catch(unlessGone);
    leaving.delete(chat.id);
    forgetConversation(chat.id);
    forgetDraft(chat.id);
  } catch (error) {
    restore(chat, false);
    showToast({ text: `The chat was not deleted: ${messageOf(error)}` });
  }
}

/** Deleted elsewhere in the meantime is deleted all the same. */
function unlessGone(error: unknown): void {
  if (!(error instanceof ApiError && error.status === 404)) throw error;
}

/** A page that closes does not wait for the time to undo. */
export function startRemoval(): void {
  addEventListener("pagehide", () => {
    for (const chat of leaving.values()) void finishRemoval(chat, true);
  });
}
