import { beforeEach, expect, it, vi } from "vitest";

const kept = new Map<string, string>();
vi.stubGlobal("sessionStorage", {
  getItem: (key: string) => kept.get(key) ?? null,
  setItem: (key: string, value: string) => kept.set(key, value),
  removeItem: (key: string) => kept.delete(key),
});

beforeEach(() => {
  kept.clear();
  vi.resetModules();
});

it("keeps a draft for the tab's life", async () => {
  const first = await import("./drafts");
  first.draft("c1").set("half a thought");
  vi.resetModules();
  const second = await import("./drafts");
  expect(second.draft("c1").get()).toBe("half a thought");
  expect(second.draft("c2").get()).toBe("");
});

it("keeps what is on its way until the server has it", async () => {
  const { draft, takeDraft, settleDraft } = await import("./drafts");
  draft("c1").set("question");
  expect(takeDraft("c1")).toBe("question");
  expect(draft("c1").get()).toBe("");
  expect(kept.get("freehold.draft.c1")).toBe("question");
  settleDraft("c1");
  expect(kept.size).toBe(0);
});

it("puts a failed message in front of what was typed since", async () => {
  const { draft, takeDraft, returnDraft } = await import("./drafts");
  draft("c1").set("first");
  const text = takeDraft("c1");
  draft("c1").set("second");
  returnDraft("c1", text);
  expect(draft("c1").get()).toBe("first\n\nsecond");
});

it("moves a new chat's draft, also the part that is on its way", async () => {
  const { draft, moveDraft, NEW_CHAT, takeDraft } = await import("./drafts");
  draft(NEW_CHAT).set("question");
  takeDraft(NEW_CHAT);
  moveDraft(NEW_CHAT, "c1");
  expect(kept.get("freehold.draft.c1")).toBe("question");
  expect(kept.has("freehold.draft.new")).toBe(false);
  expect(draft("c1").get()).toBe("");
});
