/** The history: the list of chats, newest first. */

import { listChats, renameChat } from "../api/client";
import { messageOf } from "../api/errors";
import type { Chat } from "../api/types";
import { Store } from "../lib/store";
import { showToast } from "./toasts";

export interface ChatList {
  chats: readonly Chat[];
  next: string | null;
  loading: boolean;
  loaded: boolean;
  error: string | null;
}

export const chatList = new Store<ChatList>({
  chats: [],
  next: null,
  loading: false,
  loaded: false,
  error: null,
});

/** Ids that the list leaves out although the server still has them. */
const hidden = new Set<string>();

/** Chats changed here while the list is on its way: what arrives was read before, and must not undo them. */
const meanwhile = new Map<string, Chat>();

export const titleOf = (chat: Pick<Chat, "title"> | undefined): string => chat?.title?.trim() || "New chat";

function merged(known: readonly Chat[], arrived: readonly Chat[]): Chat[] {
  const byId = new Map(known.map((chat) => [chat.id, chat]));
  for (const chat of arrived) if (!hidden.has(chat.id)) byId.set(chat.id, chat);
  return [...byId.values()].sort(
    (a, b) => Date.parse(b.updated_at) - Date.parse(a.updated_at) || (a.id < b.id ? 1 : -1),
  );
}

async function load(before: string | null): Promise<void> {
  if (chatList.get().loading) return;
  chatList.update((list) => ({ ...list, loading: true, error: null }));
  meanwhile.clear();
  try {
    const page = await listChats(before);
    chatList.update((list) => ({
      chats: merged(merged(before ? list.chats : [], page.chats), [...meanwhile.values()]),
      next: page.next,
      loading: false,
      loaded: true,
      error: null,
    }));
  } catch (error) {
    chatList.update((list) => ({ ...list, loading: false, error: messageOf(error) }));
  }
}

export const loadChats = (): Promise<void> => load(null);

export function loadOlderChats(): Promise<void> {
  const { next } = chatList.get();
  return next ? load(next) : Promise.resolve();
}

/** Puts a chat that was created or changed here into its place in the list. */
export function upsertChat(chat: Chat): void {
  meanwhile.set(chat.id, chat);
  chatList.update((list) => ({ ...list, chats: merged(list.chats, [chat]) }));
}

export function touchChat(id: string, change: Partial<Chat>): void {
  const chat = chatList.get().chats.find((one) => one.id === id);
  if (chat) upsertChat({ ...chat, updated_at: new Date().toISOString(), ...change });
}

export async function renameChatTo(chat: Chat, title: string): Promise<void> {
  const trimmed = title.trim();
  if (!trimmed || trimmed === titleOf(chat)) return;
  upsertChat({ ...chat, title: trimmed });
  try {
    upsertChat(await renameChat(chat.id, trimmed));
  } catch (error) {
    upsertChat(chat);
    showToast({ text: `The chat was not renamed: ${messageOf(error)}` });
  }
}

export function hideChat(id: string): void {
  hidden.add(id);
  meanwhile.delete(id);
  chatList.update((list) => ({ ...list, chats: list.chats.filter((one) => one.id !== id) }));
}

export function unhideChat(chat: Chat): void {
  hidden.delete(chat.id);
  upsertChat(chat);
}
