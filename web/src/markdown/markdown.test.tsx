import { readFileSync } from "node:fs";
import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, it } from "vitest";
import { languageOf } from "./languages";
import { safeHref } from "./links";
import MarkdownBody from "./MarkdownBody";
import { type Block, GrowingText, MAX_MARKDOWN_CHARS, parseBlocks } from "./parse";

const html = (text: string): string => renderToStaticMarkup(<MarkdownBody text={text} />);

describe("what a model may not do", () => {
  it.each([
    '<img src=x onerror="alert(1)">',
    "<script>alert(1)</script>",
    "<svg onload=alert(1)></svg>",
    "a <b onclick=alert(1)>b</b>",
    "<!-- comment --> <iframe src=//evil.example>",
  ])("raw HTML stays text: %s", (text) => {
    expect(html(text)).not.toMatch(/<(img|script|svg|b|iframe)[\s>]/i);
    expect(html(text)).toContain("&lt;");
  });

  it.each([
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    " javascript:alert(1)",
    "data:text/html,<script>",
    "vbscript:x",
    "file:///etc/passwd",
    "/relative",
    "//evil.example",
    "blob:x",
  ])("no link to %s", (address) => {
    expect(safeHref(address)).toBeNull();
    expect(html(`[x](<${address}>) and ![y](<${address}>)`)).not.toContain("href");
  });

  it("entities do not smuggle an address in", () => {
    expect(html("[x](&#106;avascript:alert(1))")).not.toContain("href");
  });

  it("an image becomes a link, and nothing is fetched", () => {
    const out = html("![a chart](https://evil.example/p.png?q=1)");
    expect(out).not.toContain("<img");
    expect(out).toContain('href="https://evil.example/p.png?q=1"');
    expect(out).toContain('rel="noopener noreferrer"');
    expect(out).toContain(">a chart</a>");
  });

  it("an image inside a link makes no nested link", () => {
    expect(html("[![x](https://a.example/i.png)](https://b.example/)").match(/<a /g)).toHaveLength(1);
  });

  it("a hundred thousand nested quotes or brackets do not break it", () => {
    expect(html(">".repeat(20_000))).toContain("blockquote");
    expect(html("[".repeat(20_000))).toContain("[[[");
    expect(html("*a ".repeat(20_000))).toContain("*a");
  });

  it("text beyond the bound is shown as it is", () => {
    expect(html(`**${"x".repeat(MAX_MARKDOWN_CHARS)}**`)).not.toContain("<strong>");
  });
});

describe("what Markdown becomes", () => {
  it("headings below the page's own, lists, quotes, tables with alignment", () => {
    const out = html("# A\n\n- b\n- c\n\n3. d\n\n> e\n\n|f|g|\n|:-:|--:|\n|1|2|");
    expect(out).toContain('<h3 class="md-h1">A</h3>');
    expect(out).toContain("<ul><li>b</li><li>c</li></ul>");
    expect(out).toContain('<ol start="3">');
    expect(out).toContain("<blockquote><p>e</p></blockquote>");
    expect(out).toContain('<th class="align-center">f</th>');
    expect(out).toContain('<td class="align-right">2</td>');
  });

  it("bare addresses become links, file names do not", () => {
    expect(html("see https://example.org/x.")).toContain('href="https://example.org/x"');
    expect(html("run main.py and ask me@example.org")).not.toContain("href");
  });

  it("a fence that is still open is code", () => {
    expect(html("```python\nprint(1)")).toContain("print(1)");
    expect(html("```python\nprint(1)")).not.toContain("```");
  });
});

describe("formulas", () => {
  const formulas = (text: string): string[] =>
    parseBlocks(text)
      .flatMap((block) => block.tokens)
      .flatMap((token) => [token, ...(token.children ?? [])])
      .filter((token) => token.type.startsWith("math"))
      .map((token) => `${token.type.slice(5)}: ${token.content}`);

  it.each([
    ["$x^2$", ["inline: x^2"]],
    ["a \\(x\\) b", ["inline: x"]],
    ["$$x$$", ["block: x"]],
    ["\\[\nx\n\ny\n\\]", ["block: x\n\ny"]],
    ["text $$x$$ text", ["display: x"]],
    ["- item\n  $$\n  x\n  $$", ["block: x"]],
    ["costs $5 and $10", []],
    ["from $5 to 10 $", []],
    ["a $ b $ c", []],
    ["\\$x$", []],
    ["`$x$`", []],
    ["$x", []],
    ["$$x", []],
    ["$$\nx\n", []],
    ["\\(x", []],
    ["$a\\$b$", ["inline: a\\$b"]],
  ])("%j", (text, expected) => expect(formulas(text)).toEqual(expected));

  it("many dollars take no quadratic time", () => {
    const before = performance.now();
    parseBlocks("$ ".repeat(30_000));
    parseBlocks("$a ".repeat(30_000));
    parseBlocks("\\( ".repeat(30_000));
    parseBlocks("\\[\n".repeat(30_000));
    parseBlocks("$$ x\n\\[\n".repeat(10_000));
    expect(performance.now() - before).toBeLessThan(3_000);
  });
});

describe("blocks", () => {
  it("keep their source while text is added after them", () => {
    const before = parseBlocks("one\n\n- two\n- three\n\nfo");
    const after = parseBlocks("one\n\n- two\n- three\n\nfour");
    expect(after.slice(0, 2).map((block) => block.source)).toEqual(
      before.slice(0, 2).map((block) => block.source),
    );
    expect(after).toHaveLength(3);
  });

  it("change when a link's definition arrives below them", () => {
    const [before] = parseBlocks("[a][b]\n\nx");
    const [after] = parseBlocks("[a][b]\n\n[b]: https://example.org/");
    expect(after?.source).not.toBe(before?.source);
  });
});

describe("a growing text", () => {
  const shape = (blocks: Block[]): string[] =>
    blocks.map(
      (block) => `${block.start} ${block.source} ${block.tokens.map((token) => token.type + token.content)}`,
    );
  const read = (name: string): string =>
    readFileSync(new URL(`../../dev/answers/${name}.md`, import.meta.url), "utf8");

  it.each([
    ["a rich answer", read("rich")],
    ["a hostile answer", read("hostile")],
    ["lists that go on after a gap", "1. a\n\n2. b\n\n   c\n\n\n- d\n\n  e\n\nf\n\n- g\n"],
    ["formulas over blank lines", "a\n\nb\n\n\\[\nx\n\ny\n\nz\n\\]\n\nc\n\n$$\nx\n\ny\n$$\n\nd\n\ne"],
    [
      "definitions at the end",
      "[a] and [b]\n\nc\n\nd\n\n[a]: https://a.example/\n[b]: https://b.example/\n\ne\n\nf",
    ],
    [
      "setext headings, tables and fences",
      "a\n===\n\nb\n---\n|a|b|\n|-|-|\n|1|2|\n```\nx\n\n```\n> q\nlazy\n\n    code\n\n    more",
    ],
  ])("gives at every length what parsing afresh gives: %s", (_, text) => {
    const growing = new GrowingText();
    for (let end = 1; end <= text.length; end += 1) {
      const part = text.slice(0, end);
      expect(shape(growing.blocks(part))).toEqual(shape(parseBlocks(part)));
    }
  });

  it("costs little for each token of a long answer", () => {
    const growing = new GrowingText();
    let text = read("rich").repeat(60);
    growing.blocks(text);
    const before = performance.now();
    for (let token = 0; token < 200; token += 1) {
      text += token % 20 === 19 ? "\n\n" : " word";
      growing.blocks(text);
    }
    expect((performance.now() - before) / 200).toBeLessThan(8);
  });

  it("takes another text as well", () => {
    const growing = new GrowingText();
    growing.blocks("a\n\nb\n\nc\n\nd");
    expect(shape(growing.blocks("x\n\ny"))).toEqual(shape(parseBlocks("x\n\ny")));
  });
});

it("knows the names that models give to languages", () => {
  expect(["py", "C++", "sh", "TypeScript", "constructor", "brainfuck"].map(languageOf)).toEqual([
    "python",
    "cpp",
    "bash",
    "typescript",
    null,
    null,
  ]);
});
