import { lazy, type ReactNode, Suspense } from "react";
import type { MarkdownProps } from "./MarkdownBody";

const MarkdownBody = lazy(() => import("./MarkdownBody"));

/** Markdown; the parser is fetched when the first answer needs it, and until then the text stands as it is. */
export function Markdown(props: MarkdownProps): ReactNode {
  return (
    <div className="md">
      <Suspense fallback={<div className="md-plain">{props.text}</div>}>
        <MarkdownBody {...props} />
      </Suspense>
    </div>
  );
}

/** Fetches the parser before it is needed. */
export function preloadMarkdown(): void {
  void import("./MarkdownBody");
}
