/** Tokens to React elements, one kind at a time. A kind that is not known here shows its text. */

import { Fragment, type ReactNode } from "react";
import { CodeBlock } from "./CodeBlock";
import { Formula } from "./Formula";
import { safeHref } from "./links";
import { type Node, nest, type Token } from "./parse";

interface Context {
  /** The text still grows, so that its last code block is not complete. */
  streaming: boolean;
  /** Inside a link: links do not nest. */
  inLink?: boolean;
}

export function renderTokens(tokens: readonly Token[], context: Context): ReactNode {
  return renderNodes(nest(tokens), context);
}

function renderNodes(nodes: readonly Node[], context: Context): ReactNode {
  // biome-ignore lint/suspicious/noArrayIndexKey: nodes have no identity but their place, and text only grows.
  return nodes.map((node, index) => <Fragment key={index}>{renderNode(node, context)}</Fragment>);
}

function renderNode({ token, children }: Node, context: Context): ReactNode {
  const inside = (): ReactNode => renderNodes(children, context);
  switch (token.type) {
    case "inline":
      return inside();
    case "paragraph_open":
      return token.hidden ? inside() : <p>{inside()}</p>;
    case "heading_open":
      return <Heading level={Number(token.tag.slice(1))}>{inside()}</Heading>;
    case "blockquote_open":
      return <blockquote>{inside()}</blockquote>;
    case "bullet_list_open":
      return <ul>{inside()}</ul>;
    case "ordered_list_open":
      return <ol start={Number(token.attrGet("start") ?? 1)}>{inside()}</ol>;
    case "list_item_open":
      return <li>{inside()}</li>;
    case "hr":
      return <hr />;
    case "table_open":
      return (
        <div className="md-table" role="group" aria-label="Table" tabIndex={0}>
          <table>{inside()}</table>
        </div>
      );
    case "thead_open":
      return <thead>{inside()}</thead>;
    case "tbody_open":
      return <tbody>{inside()}</tbody>;
    case "tr_open":
      return <tr>{inside()}</tr>;
    case "th_open":
      return <th className={alignment(token)}>{inside()}</th>;
    case "td_open":
      return <td className={alignment(token)}>{inside()}</td>;
    case "fence":
    case "code_block":
      return <CodeBlock code={token.content} language={token.info} streaming={context.streaming} />;
    case "code_inline":
      return <code>{token.content}</code>;
    case "strong_open":
      return <strong>{inside()}</strong>;
    case "em_open":
      return <em>{inside()}</em>;
    case "s_open":
      return <del>{inside()}</del>;
    case "link_open":
      return (
        <SafeLink href={attribute(token, "href")}>
          {renderNodes(children, { ...context, inLink: true })}
        </SafeLink>
      );
    case "image":
      // Never fetched: an address in an answer could carry words of the chat away.
      if (context.inLink) return token.content || "image";
      return <SafeLink href={attribute(token, "src")}>{token.content || "image"}</SafeLink>;
    case "softbreak":
    case "hardbreak":
      return <br />;
    case "math_inline":
      return <Formula tex={token.content} display={false} />;
    case "math_display":
    case "math_block":
      return <Formula tex={token.content} display />;
    default:
      return token.content || inside();
  }
}

/** The page's own headings are h1 and h2, so an answer's begin at h3. */
function Heading({ level, children }: { level: number; children: ReactNode }): ReactNode {
  const className = `md-h${level}`;
  if (level <= 1) return <h3 className={className}>{children}</h3>;
  if (level === 2) return <h4 className={className}>{children}</h4>;
  if (level === 3) return <h5 className={className}>{children}</h5>;
  return <h6 className={className}>{children}</h6>;
}

function SafeLink({ href, children }: { href: string | null; children: ReactNode }): ReactNode {
  const safe = href === null ? null : safeHref(href);
  if (safe === null) return children;
  return (
    <a href={safe} target="_blank" rel="noopener noreferrer" referrerPolicy="no-referrer" title={safe}>
      {children}
    </a>
  );
}

function attribute(token: Token, name: string): string | null {
  const value = token.attrGet(name);
  return value === null ? null : String(value);
}

function alignment(token: Token): string | undefined {
  const match = /text-align:\s*(left|center|right)/.exec(attribute(token, "style") ?? "");
  return match ? `align-${match[1]}` : undefined;
}
