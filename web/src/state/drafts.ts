/** What is typed and not yet sent, one draft per chat, kept for the tab's life: nothing typed is ever lost. */

import { perTab } from "../lib/storage";
import { Store } from "../lib/store";

/** The key of the draft on the page for a new chat. */
export const NEW_CHAT = "new";

const drafts = new Map<string, Store<string>>();

export function draft(key: string): Store<string> {
  let store = drafts.get(key);
  if (!store) {
    const created = new Store(perTab.get(`draft.${key}`) ?? "");
    created.subscribe(() => keep(key, created.get()));
    drafts.set(key, created);
    store = created;
  }
  return store;
}

function keep(key: string, text: string): void {
  if (text) perTab.set(`draft.${key}`, text);
  else perTab.remove(`draft.${key}`);
}

/** Empties the field while a message is on its way; the kept copy stays until `settle`. */
export function takeDraft(key: string): string {
  const store = draft(key);
  const text = store.get();
  store.set("");
  keep(key, text);
  return text;
}

/** The server has the message: the kept copy goes, what was typed since stays. */
export function settleDraft(key: string): void {
  keep(key, draft(key).get());
}

/** The message did not arrive: it returns in front of what was typed since. */
export function returnDraft(key: string, text: string): void {
  draft(key).update((since) => (since ? `${text}\n\n${since}` : text));
}

/** A new chat has got its id: its draft goes along. */
export function moveDraft(from: string, to: string): void {
  const store = draft(from);
  const kept = perTab.get(`draft.${from}`) ?? "";
  draft(to).set(store.get());
  keep(to, kept);
  store.set("");
  keep(from, "");
}

export function forgetDraft(key: string): void {
  draft(key).set("");
  drafts.delete(key);
}
