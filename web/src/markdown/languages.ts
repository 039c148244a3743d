/** The languages that are coloured, each a chunk of its own, and the names under which models write them. */

import type { LanguageRegistration } from "@shikijs/core";

type Load = () => Promise<{ default: LanguageRegistration[] }>;

export const LANGUAGES = {
  bash: () => import("@shikijs/langs/bash"),
  c: () => import("@shikijs/langs/c"),
  cpp: () => import("@shikijs/langs/cpp"),
  csharp: () => import("@shikijs/langs/csharp"),
  css: () => import("@shikijs/langs/css"),
  diff: () => import("@shikijs/langs/diff"),
  docker: () => import("@shikijs/langs/docker"),
  go: () => import("@shikijs/langs/go"),
  html: () => import("@shikijs/langs/html"),
  java: () => import("@shikijs/langs/java"),
  javascript: () => import("@shikijs/langs/javascript"),
  json: () => import("@shikijs/langs/json"),
  kotlin: () => import("@shikijs/langs/kotlin"),
  latex: () => import("@shikijs/langs/latex"),
  lua: () => import("@shikijs/langs/lua"),
  make: () => import("@shikijs/langs/make"),
  markdown: () => import("@shikijs/langs/markdown"),
  php: () => import("@shikijs/langs/php"),
  python: () => import("@shikijs/langs/python"),
  r: () => import("@shikijs/langs/r"),
  rust: () => import("@shikijs/langs/rust"),
  sql: () => import("@shikijs/langs/sql"),
  swift: () => import("@shikijs/langs/swift"),
  toml: () => import("@shikijs/langs/toml"),
  tsx: () => import("@shikijs/langs/tsx"),
  typescript: () => import("@shikijs/langs/typescript"),
  xml: () => import("@shikijs/langs/xml"),
  yaml: () => import("@shikijs/langs/yaml"),
} satisfies Record<string, Load>;

export type Language = keyof typeof LANGUAGES;

const ALIASES: Record<string, Language> = {
  "c++": "cpp",
  "c#": "csharp",
  cc: "cpp",
  cs: "csharp",
  console: "bash",
  dockerfile: "docker",
  golang: "go",
  h: "c",
  hpp: "cpp",
  js: "javascript",
  jsonc: "json",
  jsx: "tsx",
  kt: "kotlin",
  makefile: "make",
  md: "markdown",
  mjs: "javascript",
  patch: "diff",
  py: "python",
  python3: "python",
  rs: "rust",
  sh: "bash",
  shell: "bash",
  svg: "xml",
  tex: "latex",
  ts: "typescript",
  yml: "yaml",
  zsh: "bash",
};

export function languageOf(name: string): Language | null {
  const wanted = name.toLowerCase();
  if (Object.hasOwn(LANGUAGES, wanted)) return wanted as Language;
  return Object.hasOwn(ALIASES, wanted) ? (ALIASES[wanted] ?? null) : null;
}
