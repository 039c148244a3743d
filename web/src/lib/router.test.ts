import { expect, it } from "vitest";
import { chatHref, parseRoute } from "./router";

it.each([
  ["/", null],
  ["/c/chat_1", "chat_1"],
  ["/c/chat_1/", "chat_1"],
  ["/c/a%2Fb", "a/b"],
  ["/c/%E0%A4%A", null],
  ["/c/", null],
  ["/c/a/b", null],
  ["/elsewhere", null],
])("reads %s", (path, chatId) => expect(parseRoute(path)).toEqual({ chatId }));

it("writes what it reads", () => expect(parseRoute(chatHref("a/b c?"))).toEqual({ chatId: "a/b c?" }));
