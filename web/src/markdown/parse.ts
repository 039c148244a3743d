/** Markdown to blocks of markdown-it tokens. Nothing here or after it makes HTML text: tokens become React elements. */

import Markdown, { type Env, type Token } from "markdown-it";
import { safeHref } from "./links";
import { mathPlugin } from "./math";

export type { Token };

/** A paragraph, a list, a table…: what is rendered again only when its own source changes. */
export interface Block {
  source: string;
  tokens: Token[];
  /** Where its first line begins in the text. */
  start: number;
}

/** Longer texts are shown as they are: parsing must never hold up the page. */
export const MAX_MARKDOWN_CHARS = 400_000;

const md = new Markdown("default", { html: false, linkify: true, breaks: true, typographer: false });
md.use(mathPlugin);
md.validateLink = (url) => safeHref(url) !== null;
md.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });

export function parseBlocks(text: string): Block[] {
  return parse(text).blocks;
}

function parse(text: string): { blocks: Block[]; references: boolean } {
  const env: Env = {};
  const tokens = md.parse(text, env);
  // A link definition may change blocks above it, so it counts as a part of every block's source.
  const references = env.references ? JSON.stringify(env.references) : "";
  const starts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  const blocks: Block[] = [];
  let current: Token[] = [];
  let depth = 0;
  for (const token of tokens) {
    current.push(token);
    depth += token.nesting;
    if (depth > 0) continue;
    const [from, to] = current[0]?.map ?? [0, starts.length];
    const start = starts[from] ?? text.length;
    blocks.push({ source: text.slice(start, starts[to]) + references, tokens: current, start });
    current = [];
  }
  return { blocks, references: references !== "" };
}

/** How many blocks at the end of a growing text may still change: "2" after a list may become the list's "2.". */
const UNSETTLED_BLOCKS = 2;

/** A formula that is not closed yet: when it is, it swallows the blocks from here on. */
const OPEN_FORMULA = /^\s*(?:\$\$|\\\[)/m;

const mayStillOpen = ({ tokens, source }: Block): boolean =>
  tokens[0]?.type !== "math_block" && tokens[0]?.type !== "fence" && OPEN_FORMULA.test(source);

/** Parses a text that grows at its end, each time only as far back as it may have changed. */
export class GrowingText {
  #text = "";
  #blocks: Block[] = [];
  #settled = false;

  blocks(text: string): Block[] {
    if (text !== this.#text) {
      this.#blocks = this.#grown(text) ?? this.#afresh(text);
      this.#text = text;
    }
    return this.#blocks;
  }

  #afresh(text: string): Block[] {
    const { blocks, references } = parse(text);
    this.#settled = !references;
    return blocks;
  }

  #grown(text: string): Block[] | null {
    const from = this.#blocks.at(-UNSETTLED_BLOCKS)?.start;
    if (!this.#settled || !from || !text.startsWith(this.#text)) return null;
    const kept = this.#blocks.slice(0, -UNSETTLED_BLOCKS);
    if (kept.some(mayStillOpen)) return null;
    const tail = parse(text.slice(from));
    if (tail.references) return null;
    return [...kept, ...tail.blocks.map((block) => ({ ...block, start: block.start + from }))];
  }
}

/** A token with what stands inside it. */
export interface Node {
  token: Token;
  children: Node[];
}

/** Folds the flat list of opening and closing tokens into a tree. */
export function nest(tokens: readonly Token[]): Node[] {
  const root: Node[] = [];
  const open: Node[] = [];
  for (const token of tokens) {
    if (token.nesting < 0) {
      open.pop();
      continue;
    }
    const node: Node = { token, children: token.children ? nest(token.children) : [] };
    (open.at(-1)?.children ?? root).push(node);
    if (token.nesting > 0) open.push(node);
  }
  return root;
}
