/**
 * The app's API with scripted answers, in memory: `FREEHOLD_MOCK=1 npm run dev` needs no server and no model.
 *
 * What is asked chooses the answer: a question with "think" is answered after thinking, "slow" slowly, "fail" with
 * an error before, "break" with an error in the middle of the answer, and "hostile" with every trick that Markdown
 * could play.
 */

import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Connect, Plugin } from "vite";
import type { Chat, Message } from "../src/api/types";

/** What the server sends with every page. */
export const contentSecurityPolicy =
  "default-src 'self'; style-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const MODEL = "mock-reasoner";
const scripts = new URL("./answers/", import.meta.url);
const script = (name: string): string => readFileSync(new URL(`${name}.md`, scripts), "utf8");

interface StoredChat extends Chat {
  messages: Message[];
}

const chats = new Map<string, StoredChat>();
const answering = new Set<string>();
let counter = 0;

function newId(kind: string): string {
  counter += 1;
  return `${kind}_${counter.toString().padStart(6, "0")}`;
}

const now = (): string => new Date().toISOString();

function seed(): void {
  const titles = [
    "Compound interest, step by step",
    "A limerick about tides",
    "Sorting in Rust and in Python",
  ];
  titles.forEach((title, index) => {
    const at = new Date(Date.now() - (index + 1) * 26 * 3_600_000).toISOString();
    const chat: StoredChat = {
      id: newId("chat"),
      title,
      model: MODEL,
      created_at: at,
      updated_at: at,
      messages: [],
    };
    chat.messages.push(message("user", title), {
      ...message("assistant", script("rich")),
      finish_reason: "stop",
    });
    chats.set(chat.id, chat);
  });
}

function message(role: "user" | "assistant", content: string): Message {
  return {
    id: newId("msg"),
    role,
    content,
    reasoning_content: null,
    reasoning_seconds: null,
    finish_reason: null,
    created_at: now(),
  };
}

function summary({ messages: _, ...chat }: StoredChat): Chat {
  return chat;
}

function reply(response: ServerResponse, status: number, body?: unknown): void {
  response.statusCode = status;
  response.setHeader("Content-Type", "application/json");
  response.end(body === undefined ? undefined : JSON.stringify(body));
}

const refuse = (response: ServerResponse, status: number, text: string): void =>
  reply(response, status, {
    error: { message: text, type: "invalid_request_error", param: null, code: null },
  });

async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  let text = "";
  for await (const piece of request) text += piece;
  return text ? (JSON.parse(text) as Record<string, unknown>) : {};
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const pieces = (text: string): string[] => text.match(/\s*\S+|\s+$/g) ?? [];

async function answer(chat: StoredChat, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await bodyOf(request);
  const question = String(body.content ?? "");
  if (/\bfail\b/.test(question)) return refuse(response, 503, "The engine is full; try again in a moment.");
  const user = message("user", question);
  const stored = message("assistant", "");
  if (chat.messages.length === 0) chat.title = question.slice(0, 60);
  chat.messages.push(user, stored);
  chat.updated_at = now();
  answering.add(chat.id);
  response.on("close", () => answering.delete(chat.id));

  response.setHeader("Content-Type", "text/event-stream");
  const send = (frame: unknown): boolean => response.write(`data: ${JSON.stringify(frame)}\n\n`);
  const delta = (part: Record<string, string>, finish: string | null = null): boolean =>
    send({ choices: [{ index: 0, delta: part, finish_reason: finish }] });
  let gone = false;
  response.on("close", () => {
    gone = true;
  });
  const wait = /\bslow\b/.test(question) ? 150 : 18;
  await pause(300);

  if (/\bthink\b/i.test(question) && body.thinking !== false) {
    const began = Date.now();
    let thought = "";
    for (const piece of pieces(script("thinking"))) {
      if (gone) break;
      thought += piece;
      delta({ reasoning_content: piece });
      await pause(wait);
    }
    stored.reasoning_content = thought;
    stored.reasoning_seconds = (Date.now() - began) / 1000;
  }
  const text = script(
    /\bhostile\b/.test(question) ? "hostile" : /\bshort\b/.test(question) ? "short" : "rich",
  );
  let sent = 0;
  for (const piece of pieces(text)) {
    if (gone) break;
    stored.content += piece;
    delta({ content: piece });
    sent += 1;
    if (sent === 12 && /\bbreak\b/.test(question)) {
      send({ error: { message: "The engine stopped unexpectedly.", type: "server_error" } });
      response.end();
      return;
    }
    await pause(wait);
  }
  stored.finish_reason = gone ? "abort" : "stop";
  if (gone) return;
  delta({}, "stop");
  send({
    freehold: {
      user_message_id: user.id,
      message_id: stored.id,
      title: chat.title,
      reasoning_seconds: stored.reasoning_seconds,
    },
  });
  response.end("data: [DONE]\n\n");
}

async function handle(
  request: IncomingMessage,
  response: ServerResponse,
  next: Connect.NextFunction,
): Promise<void> {
  const url = new URL(request.url ?? "/", "http://mock");
  const route = `${request.method} ${url.pathname}`;
  if (route === "GET /api/session") {
    reply(response, 200, {
      user: { id: "user_1", name: "owner" },
      csrf_token: "t",
      version: "0",
      model: MODEL,
    });
    return;
  }
  if (route === "GET /v1/models") {
    const model = { id: MODEL, freehold: { thinking: "optional", context_length: 8192, tools: false } };
    reply(response, 200, { object: "list", data: [model] });
    return;
  }
  if (!url.pathname.startsWith("/api/")) return next();
  if (request.method !== "GET" && request.headers["x-csrf-token"] !== "t") {
    return refuse(response, 403, "The CSRF token is missing or wrong.");
  }
  if (route === "GET /api/chats") {
    const all = [...chats.values()].sort((a, b) => Date.parse(b.updated_at) - Date.parse(a.updated_at));
    reply(response, 200, { chats: all.map(summary), next: null });
    return;
  }
  if (route === "POST /api/chats") {
    const chat = {
      id: newId("chat"),
      title: null,
      model: MODEL,
      created_at: now(),
      updated_at: now(),
      messages: [],
    };
    chats.set(chat.id, chat);
    reply(response, 201, summary(chat));
    return;
  }
  if (route === "POST /api/logout") return reply(response, 204);
  const [, id = "", rest] = /^\/api\/chats\/([^/]+)(\/messages)?$/.exec(url.pathname) ?? [];
  const chat = chats.get(id);
  if (!chat) return refuse(response, 404, "There is no such chat.");
  if (rest) return answer(chat, request, response);
  if (request.method === "DELETE") {
    chats.delete(id);
    return reply(response, 204);
  }
  if (request.method === "PATCH") chat.title = String((await bodyOf(request)).title);
  if (request.method === "PATCH") return reply(response, 200, summary(chat));
  reply(response, 200, { ...chat, answering: answering.has(id) });
}

export function mockServer(): Plugin {
  seed();
  const use = (server: { middlewares: Connect.Server }): void => {
    server.middlewares.use((request, response, next) => {
      handle(request, response, next).catch(next);
    });
  };
  return { name: "freehold-mock", configureServer: use, configurePreviewServer: use };
}
