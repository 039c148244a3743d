import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Chat } from "../api/types";

const listChats = vi.fn();
vi.mock("../api/client", () => ({ listChats, renameChat: vi.fn() }));

const { chatList, hideChat, loadChats, upsertChat } = await import("./chats");

const chat = (id: string, updated_at: string, title = id): Chat =>
  ({ id, title, updated_at, created_at: updated_at }) as Chat;

const ids = (): string[] => chatList.get().chats.map((one) => one.id);

describe("a list that arrives late", () => {
  let arrive: (page: { chats: Chat[]; next: null }) => void = () => undefined;

  beforeEach(() => {
    chatList.set({ chats: [], next: null, loading: false, loaded: false, error: null });
    listChats.mockImplementation(() => new Promise((resolve) => (arrive = resolve)));
  });

  it("does not undo what was made or changed here meanwhile", async () => {
    const loading = loadChats();
    upsertChat(chat("new", "2026-01-03T00:00:00Z"));
    upsertChat(chat("old", "2026-01-02T00:00:00Z", "Renamed"));
    arrive({
      chats: [chat("old", "2026-01-01T00:00:00Z", "Old"), chat("older", "2025-01-01T00:00:00Z")],
      next: null,
    });
    await loading;
    expect(ids()).toEqual(["new", "old", "older"]);
    expect(chatList.get().chats[1]?.title).toBe("Renamed");
  });

  it("does not bring back what was deleted here meanwhile, and forgets what the server no longer has", async () => {
    upsertChat(chat("gone", "2026-01-03T00:00:00Z"));
    const loading = loadChats();
    upsertChat(chat("hidden", "2026-01-03T00:00:00Z"));
    hideChat("hidden");
    arrive({
      chats: [chat("hidden", "2026-01-01T00:00:00Z"), chat("kept", "2026-01-01T00:00:00Z")],
      next: null,
    });
    await loading;
    expect(ids()).toEqual(["kept"]);
  });
});
