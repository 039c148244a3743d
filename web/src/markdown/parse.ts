/** Markdown to blocks of markdown-it tokens. Nothing here or after it makes HTML text: tokens become React elements. */

import Markdown, { type Env, type Token } from "markdown-it";
import { safeHref } from "./links";
import { mathPlugin } from "./math";

export type { Token };

/** A paragraph, a list, a table…: what is rendered again only when its own source changes. */
export interface Block {
  source: string;
  tokens: Token[];
}

/** Longer texts are shown as they are: parsing must never hold up the page. */
export const MAX_MARKDOWN_CHARS = 400_000;

const md = new Markdown("default", { html: false, linkify: true, breaks: true, typographer: false });
md.use(mathPlugin);
md.validateLink = (url) => safeHref(url) !== null;
md.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });

export function parseBlocks(text: string): Block[] {
  const env: Env = {};
  const tokens = md.parse(text, env);
  // A link definition may change blocks above it, so it counts as a part of every block's source.
  const references = env.references ? JSON.stringify(env.references) : "";
  const lines = text.split("\n");
  const blocks: Block[] = [];
  let current: Token[] = [];
  let depth = 0;
  for (const token of tokens) {
    current.push(token);
    depth += token.nesting;
    if (depth > 0) continue;
    const [from, to] = current[0]?.map ?? [0, lines.length];
    blocks.push({ source: lines.slice(from, to).join("\n") + references, tokens: current });
    current = [];
  }
  return blocks;
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
