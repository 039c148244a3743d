import { type ReactNode, useEffect, useState } from "react";
import { CopyButton } from "../ui/CopyButton";
import type { Line } from "./highlight";
import { languageOf } from "./languages";

interface Props {
  code: string;
  /** The info string after the fence, as the model wrote it. */
  language: string;
  streaming: boolean;
}

/** While code streams it is coloured at most this often. */
const RECOLOUR_MS = 150;
const MAX_COLOURED_CHARS = 60_000;

export function CodeBlock({ code, language, streaming }: Props): ReactNode {
  const text = code.replace(/\n$/, "");
  const name = language.trim().split(/[\s{:,]/)[0] ?? "";
  const lines = useColours(text, name, streaming);
  return (
    <figure className="code">
      <figcaption className="code-bar">
        <span>{name || "text"}</span>
        <CopyButton text={text} label="Copy code" />
      </figcaption>
      <pre tabIndex={0} role="group" aria-label={name ? `Code, ${name}` : "Code"}>
        <code>{lines ? <Coloured lines={lines} text={text} /> : text}</code>
      </pre>
    </figure>
  );
}

interface Colours {
  /** The text that was coloured: a prefix of the present one while it streams. */
  text: string;
  lines: Line[];
}

function useColours(text: string, name: string, streaming: boolean): Colours | null {
  const [colours, setColours] = useState<Colours | null>(null);
  useEffect(() => {
    const language = languageOf(name);
    if (!language || text.length > MAX_COLOURED_CHARS) return;
    let current = true;
    const timer = setTimeout(
      async () => {
        try {
          const { highlight } = await import("./highlight");
          const lines = await highlight(text, language);
          if (current) setColours({ text, lines });
        } catch {
          // Uncoloured code is as readable.
        }
      },
      streaming ? RECOLOUR_MS : 0,
    );
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [text, name, streaming]);
  return colours;
}

/** Coloured lines; a line that has changed since is shown plain until it is coloured again. */
function Coloured({ lines, text }: { lines: Colours; text: string }): ReactNode {
  const then = lines.text.split("\n");
  return text.split("\n").map((line, index) => {
    const tokens = then[index] === line ? lines.lines[index] : undefined;
    return (
      // biome-ignore lint/suspicious/noArrayIndexKey: a line's identity is its number.
      <span key={index}>
        {index > 0 && "\n"}
        {tokens
          ? tokens.map((token, at) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: a token's identity is its place in the line.
              <span key={at} className={token.className}>
                {token.text}
              </span>
            ))
          : line}
      </span>
    );
  });
}
