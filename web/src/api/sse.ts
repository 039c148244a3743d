/**
 * Server-sent events, parsed as the HTML standard says (section 9.2.6): LF, CRLF or CR end a line, `:` begins a
 * comment, several `data` lines join with LF, a blank line dispatches, and an unfinished event at the end is dropped.
 */

export interface ServerSentEvent {
  event: string;
  data: string;
}

/** One event may not grow beyond this many characters: a server that never sends a blank line is broken. */
export const MAX_EVENT_CHARS = 4_000_000;

export class SseParser {
  #line = "";
  #data: string[] = [];
  #event = "";
  #size = 0;
  #afterCr = false;
  #atStart = true;

  /** Takes the next piece of text, cut anywhere, and returns the events that it completes. */
  push(text: string): ServerSentEvent[] {
    const events: ServerSentEvent[] = [];
    let rest = text;
    if (this.#atStart && rest.length > 0) {
      this.#atStart = false;
      if (rest.startsWith("\uFEFF")) rest = rest.slice(1);
    }
    let from = 0;
    for (let at = 0; at < rest.length; at += 1) {
      const char = rest[at];
      if (char !== "\n" && char !== "\r") {
        this.#afterCr = false;
        continue;
      }
      const secondHalfOfCrLf = char === "\n" && this.#afterCr;
      this.#afterCr = char === "\r";
      if (!secondHalfOfCrLf) {
        const event = this.#endLine(this.#line + rest.slice(from, at));
        if (event) events.push(event);
        this.#line = "";
      }
      from = at + 1;
    }
    this.#line += rest.slice(from);
    this.#grow(rest.length - from);
    return events;
  }

  #endLine(line: string): ServerSentEvent | null {
    if (line === "") {
      const event =
        this.#data.length > 0 ? { event: this.#event || "message", data: this.#data.join("\n") } : null;
      this.#data = [];
      this.#event = "";
      this.#size = 0;
      return event;
    }
    if (line.startsWith(":")) return null;
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") {
      this.#data.push(value);
      this.#grow(value.length);
    } else if (field === "event") {
      this.#event = value;
    }
    return null;
  }

  #grow(by: number): void {
    this.#size += by;
    if (this.#size > MAX_EVENT_CHARS) {
      throw new RangeError(`The server sent an event of more than ${MAX_EVENT_CHARS} characters.`);
    }
  }
}

/** Yields the events of a response body; ending the loop early cancels the body. */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new SseParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      yield* parser.push(done ? decoder.decode() : decoder.decode(value, { stream: true }));
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
