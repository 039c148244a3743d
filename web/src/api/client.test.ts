import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { connectHooks, createChat, getSession, listChats, renameChat, sendMessage } from "./client";
import { ApiError, NetworkError } from "./errors";

const SESSION = { user: { id: "u", name: "owner" }, csrf_token: "token-1", version: "1", model: "m" };

let answers: (() => Response | Promise<Response>)[] = [];
let calls: { path: string; init: RequestInit }[] = [];
const unauthorised = vi.fn();
const unreachable = vi.fn();

const json =
  (body: unknown, status = 200) =>
  (): Response =>
    Response.json(body, { status });
const stream = (text: string) => (): Response => new Response(text, { status: 200 });
const header = (at: number, name: string): string | null => new Headers(calls[at]?.init.headers).get(name);

beforeEach(() => {
  answers = [];
  calls = [];
  vi.clearAllMocks();
  connectHooks({ unauthorised, unreachable });
  vi.stubGlobal("fetch", (path: string, init: RequestInit) => {
    calls.push({ path, init });
    const next = answers.shift();
    if (!next) throw new Error(`unexpected request ${path}`);
    return Promise.resolve().then(next);
  });
});

afterEach(() => vi.unstubAllGlobals());

async function frames(id = "chat_1"): Promise<unknown[]> {
  const seen: unknown[] = [];
  for await (const frame of sendMessage(
    id,
    { content: "hi" },
    new AbortController().signal,
    () => undefined,
  )) {
    seen.push(frame);
  }
  return seen;
}

describe("requests", () => {
  it("send the CSRF token with writes and not with reads", async () => {
    answers = [json(SESSION), json({ chats: [], next: null }), json({ id: "chat_1" })];
    await getSession();
    await listChats("a b&c");
    await createChat();
    expect(header(1, "X-CSRF-Token")).toBeNull();
    expect(header(2, "X-CSRF-Token")).toBe("token-1");
    expect(calls[1]?.path).toBe("/api/chats?limit=50&before=a+b%26c");
  });

  it("fetch a fresh token once when a write is refused, and keep an id inside its path", async () => {
    answers = [
      json({ error: { message: "stale token" } }, 403),
      json({ ...SESSION, csrf_token: "token-2" }),
      json({ id: "x" }),
    ];
    await renameChat("../session", "t");
    expect(calls.map((call) => call.path)).toEqual([
      "/api/chats/..%2Fsession",
      "/api/session",
      "/api/chats/..%2Fsession",
    ]);
    expect(header(2, "X-CSRF-Token")).toBe("token-2");
  });

  it("give the server's own words for an error", async () => {
    answers = [json({ error: { message: "The prompt has 9000 tokens; 8192 fit.", code: "too_long" } }, 400)];
    await expect(createChat()).rejects.toMatchObject({
      status: 400,
      code: "too_long",
      message: "The prompt has 9000 tokens; 8192 fit.",
    });
  });

  it("survive an error that is not JSON", async () => {
    answers = [() => new Response("<html>", { status: 502, statusText: "Bad Gateway" })];
    await expect(createChat()).rejects.toThrow("The server answered 502 Bad Gateway.");
  });

  it("report a lost session and a lost server", async () => {
    answers = [
      json({ error: { message: "no" } }, 401),
      () => Promise.reject(new TypeError("Failed to fetch")),
    ];
    await expect(listChats()).rejects.toBeInstanceOf(ApiError);
    expect(unauthorised).toHaveBeenCalledOnce();
    await expect(listChats()).rejects.toBeInstanceOf(NetworkError);
    expect(unreachable).toHaveBeenCalledOnce();
  });
});

describe("sendMessage", () => {
  it("yields frames until [DONE] and ignores comments", async () => {
    answers = [
      stream(': keep-alive\n\ndata: {"choices":[]}\n\ndata: {"freehold":{"title":"t"}}\n\ndata: [DONE]\n\n'),
    ];
    expect(await frames()).toEqual([{ choices: [] }, { freehold: { title: "t" } }]);
  });

  it("throws an error frame with its message", async () => {
    answers = [stream('data: {"error":{"message":"out of memory"}}\n\n')];
    await expect(frames()).rejects.toThrow("out of memory");
    expect(unreachable).not.toHaveBeenCalled();
  });

  it("does not take a stream that ends early for an answer", async () => {
    answers = [stream('data: {"choices":[]}\n\n')];
    await expect(frames()).rejects.toBeInstanceOf(NetworkError);
  });

  it("does not count as accepted what was refused", async () => {
    answers = [json({ error: { message: "full" } }, 503)];
    const accepted = vi.fn();
    const iterator = sendMessage("c", { content: "x" }, new AbortController().signal, accepted);
    await expect(iterator.next()).rejects.toMatchObject({ status: 503 });
    expect(accepted).not.toHaveBeenCalled();
  });
});
