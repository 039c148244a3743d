/** Code to coloured tokens with shiki: JavaScript's regular expressions (no WebAssembly), and classes, no styles. */

import { createCssVariablesTheme, createHighlighterCore, type HighlighterCore } from "@shikijs/core";
import { createJavaScriptRegexEngine } from "@shikijs/engine-javascript";
import { LANGUAGES, type Language } from "./languages";

export interface ColouredToken {
  text: string;
  className: string | undefined;
}

export type Line = ColouredToken[];

const theme = createCssVariablesTheme({ name: "freehold", variablePrefix: "--code-", fontStyle: false });

let highlighter: Promise<HighlighterCore> | undefined;
const loads = new Map<Language, Promise<void>>();

async function load(core: HighlighterCore, language: Language): Promise<void> {
  const { default: grammar } = await LANGUAGES[language]();
  await core.loadLanguage(...grammar);
}

export async function highlight(code: string, language: Language): Promise<Line[]> {
  highlighter ??= createHighlighterCore({
    themes: [theme],
    langs: [],
    engine: createJavaScriptRegexEngine({ forgiving: true }),
  });
  const core = await highlighter;
  let loading = loads.get(language);
  if (!loading) {
    loading = load(core, language);
    loads.set(language, loading);
    loading.catch(() => loads.delete(language));
  }
  await loading;
  const lines = core.codeToTokensBase(code, {
    lang: language,
    theme: "freehold",
    // A line beyond this, or a grammar that takes longer, is left uncoloured.
    tokenizeMaxLineLength: 2_000,
    tokenizeTimeLimit: 200,
  });
  return lines.map((line) => line.map((token) => ({ text: token.content, className: classOf(token.color) })));
}

/** `var(--code-token-keyword)` to `tok-keyword`. */
function classOf(colour: string | undefined): string | undefined {
  const match = /^var\(--code-token-([a-z-]+)\)$/.exec(colour ?? "");
  return match ? `tok-${match[1]}` : undefined;
}
