/**
 * TeX in Markdown for markdown-it: `$…$` and `\(…\)` in a line, `$$…$$` and `\[…\]` on their own.
 *
 * Dollars follow pandoc's rule, so that prices stay prices: the opening one is followed, the closing one preceded by
 * something other than a space, and no digit comes after the closing one. What is not closed stays text, also while
 * it streams.
 */

import type { MarkdownIt, StateBlock, StateInline } from "markdown-it";

const DOLLAR = 0x24;
const BACKSLASH = 0x5c;

function isEscaped(text: string, at: number): boolean {
  let slashes = 0;
  while (text.charCodeAt(at - 1 - slashes) === BACKSLASH) slashes += 1;
  return slashes % 2 === 1;
}

function findUnescaped(text: string, what: string, from: number, end: number): number {
  for (let at = text.indexOf(what, from); at >= 0 && at < end; at = text.indexOf(what, at + 1)) {
    if (!isEscaped(text, at)) return at;
  }
  return -1;
}

/** Closing marks that a text is known not to have any more: without this, unclosed ones cost quadratic time. */
const absent = new WeakMap<StateInline, Set<string>>();

function findClose(state: StateInline, mark: string, from: number): number {
  const missing = absent.get(state) ?? new Set<string>();
  if (missing.has(mark)) return -1;
  const at = findUnescaped(state.src, mark, from, state.posMax);
  if (at < 0) absent.set(state, missing.add(mark));
  return at;
}

function push(state: StateInline, type: "math_inline" | "math_display", tex: string, next: number): true {
  state.push(type, "math", 0).content = tex.trim();
  state.pos = next;
  return true;
}

function dollars(state: StateInline, silent: boolean): boolean {
  const { src, pos } = state;
  if (src.charCodeAt(pos) !== DOLLAR) return false;
  const wide = src.charCodeAt(pos + 1) === DOLLAR;
  const fence = wide ? "$$" : "$";
  const start = pos + fence.length;
  const close = findClose(state, fence, start);
  if (close <= start) return false;
  const tex = src.slice(start, close);
  const next = close + fence.length;
  if (!wide && (/^\s|\s$/.test(tex) || /[0-9]/.test(src[next] ?? ""))) return false;
  if (tex.trim() === "") return false;
  return silent ? skip(state, next) : push(state, wide ? "math_display" : "math_inline", tex, next);
}

function brackets(state: StateInline, silent: boolean): boolean {
  const { src, pos } = state;
  const opening = src.slice(pos, pos + 2);
  if (opening !== "\\(" && opening !== "\\[") return false;
  const display = opening === "\\[";
  const close = findClose(state, display ? "\\]" : "\\)", pos + 2);
  if (close < 0) return false;
  const tex = src.slice(pos + 2, close);
  if (tex.trim() === "") return false;
  return silent
    ? skip(state, close + 2)
    : push(state, display ? "math_display" : "math_inline", tex, close + 2);
}

function skip(state: StateInline, next: number): true {
  state.pos = next;
  return true;
}

/** For each closing mark, the line before which it is known not to come any more. */
const absentBefore = new WeakMap<StateBlock, Map<string, number>>();

/** A formula that begins a line and may run over several, blank ones included. */
function block(state: StateBlock, startLine: number, endLine: number, silent: boolean): boolean {
  const lineAt = (line: number): string =>
    state.src.slice((state.bMarks[line] ?? 0) + (state.tShift[line] ?? 0), state.eMarks[line]);
  if ((state.sCount[startLine] ?? 0) - state.blkIndent >= 4) return false;
  const first = lineAt(startLine);
  const close = first.startsWith("$$") ? "$$" : first.startsWith("\\[") ? "\\]" : null;
  if (!close) return false;
  const missing = absentBefore.get(state) ?? new Map<string, number>();
  if (endLine <= (missing.get(close) ?? -1)) return false;

  const lines: string[] = [];
  for (let line = startLine; line < endLine; line += 1) {
    if (line > startLine && (state.sCount[line] ?? 0) < state.blkIndent && !state.isEmpty(line)) return false;
    const text = line === startLine ? first.slice(2) : lineAt(line);
    const at = text.indexOf(close);
    if (at < 0) {
      lines.push(text);
      continue;
    }
    if (text.slice(at + 2).trim() !== "") return false;
    lines.push(text.slice(0, at));
    const tex = lines.join("\n").trim();
    if (!tex) return false;
    if (silent) return true;
    const token = state.push("math_block", "math", 0);
    token.block = true;
    token.content = tex;
    token.map = [startLine, line + 1];
    state.line = line + 1;
    return true;
  }
  absentBefore.set(state, missing.set(close, endLine));
  return false;
}

export function mathPlugin(md: MarkdownIt): void {
  md.inline.ruler.before("escape", "math_brackets", brackets);
  md.inline.ruler.before("escape", "math_dollars", dollars);
  md.block.ruler.before("fence", "math_block", block, {
    alt: ["paragraph", "reference", "blockquote", "list"],
  });
}
