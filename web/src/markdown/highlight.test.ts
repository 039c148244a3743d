import { expect, it } from "vitest";
import { highlight } from "./highlight";
import { LANGUAGES, type Language } from "./languages";

it("gives every character back, in lines, with classes", async () => {
  const code = 'def f(n):\n    return "x" * n  # twice\n';
  const lines = await highlight(code, "python");
  expect(lines.map((line) => line.map((token) => token.text).join("")).join("\n")).toBe(code);
  expect(lines[0]?.[0]).toEqual({ text: "def", className: "tok-keyword" });
  expect(
    lines.flat().every((token) => token.className === undefined || /^tok-[a-z-]+$/.test(token.className)),
  ).toBe(true);
});

it("colours each language that is offered", async () => {
  for (const language of Object.keys(LANGUAGES) as Language[]) {
    const lines = await highlight("if (a) { return 'b'; } // c", language);
    expect(
      lines
        .flat()
        .map((token) => token.text)
        .join(""),
    ).toBe("if (a) { return 'b'; } // c");
  }
}, 30_000);
