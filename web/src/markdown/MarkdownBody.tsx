import { memo, type ReactNode, useMemo, useState } from "react";
import { GrowingText, MAX_MARKDOWN_CHARS, parseBlocks, type Token } from "./parse";
import { renderTokens } from "./render";

export interface MarkdownProps {
  text: string;
  /** The text still grows. */
  streaming?: boolean;
}

/** Markdown as React elements. Only blocks whose source changed are rendered again while an answer streams. */
export default function MarkdownBody({ text, streaming = false }: MarkdownProps): ReactNode {
  const [growing] = useState(() => new GrowingText());
  const blocks = useMemo(() => {
    if (text.length > MAX_MARKDOWN_CHARS) return null;
    const lines = text.replace(/\r\n?/g, "\n");
    return streaming ? growing.blocks(lines) : parseBlocks(lines);
  }, [text, streaming, growing]);
  if (blocks === null) return <div className="md-plain">{text}</div>;
  return blocks.map((block, index) => (
    <MarkdownBlock
      // biome-ignore lint/suspicious/noArrayIndexKey: blocks have no identity but their place, and text only grows.
      key={index}
      source={block.source}
      tokens={block.tokens}
      streaming={streaming && index === blocks.length - 1}
    />
  ));
}

interface BlockProps {
  source: string;
  tokens: readonly Token[];
  streaming: boolean;
}

const MarkdownBlock = memo(
  ({ tokens, streaming }: BlockProps): ReactNode => renderTokens(tokens, { streaming }),
  (before, after) => before.source === after.source && before.streaming === after.streaming,
);
