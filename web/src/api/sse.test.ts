import { describe, expect, it } from "vitest";
import { MAX_EVENT_CHARS, readEvents, SseParser } from "./sse";

const data = (parser: SseParser, text: string): string[] => parser.push(text).map((event) => event.data);

describe("SseParser", () => {
  it("reads events whose lines end in LF, CRLF or CR", () => {
    for (const end of ["\n", "\r\n", "\r"]) {
      expect(data(new SseParser(), ["data: a", "", "data: b", "", ""].join(end))).toEqual(["a", "b"]);
    }
  });

  it("gives the same events wherever the text is cut", () => {
    const text =
      '\uFEFF: keep-alive\r\n\r\ndata: {"a":"ü"}\r\n\r\nevent: note\ndata:one\ndata: two\n\ndata: [DONE]\n\n';
    const whole = new SseParser().push(text);
    expect(whole).toEqual([
      { event: "message", data: '{"a":"ü"}' },
      { event: "note", data: "one\ntwo" },
      { event: "message", data: "[DONE]" },
    ]);
    for (let first = 0; first <= text.length; first += 1) {
      for (let second = first; second <= text.length; second += 1) {
        const parser = new SseParser();
        const cut = [text.slice(0, first), text.slice(first, second), text.slice(second)];
        expect(cut.flatMap((piece) => parser.push(piece))).toEqual(whole);
      }
    }
  });

  it("takes one space after the colon away, and only one", () => {
    expect(data(new SseParser(), "data:  x\n\n")).toEqual([" x"]);
  });

  it("dispatches an empty data field and skips a block without data", () => {
    expect(data(new SseParser(), "data\n\nevent: x\n\nid: 1\n\n")).toEqual([""]);
  });

  it("drops an event that is not finished", () => {
    expect(data(new SseParser(), "data: a\n")).toEqual([]);
  });

  it("refuses an event without an end", () => {
    const parser = new SseParser();
    const piece = `data: ${"x".repeat(MAX_EVENT_CHARS / 4)}\n`;
    expect(() => {
      for (let at = 0; at < 5; at += 1) parser.push(piece);
    }).toThrow(RangeError);
  });
});

describe("readEvents", () => {
  it("joins characters that are cut between bytes", async () => {
    const bytes = new TextEncoder().encode("data: Zürich 🏡\n\n");
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
        controller.close();
      },
    });
    const seen: string[] = [];
    for await (const event of readEvents(body)) seen.push(event.data);
    expect(seen).toEqual(["Zürich 🏡"]);
  });

  it("cancels the body when the reader stops early", async () => {
    let cancelled = false;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new TextEncoder().encode("data: x\n\n")),
      cancel: () => {
        cancelled = true;
      },
    });
    for await (const _ of readEvents(body)) break;
    expect(cancelled).toBe(true);
  });
});
