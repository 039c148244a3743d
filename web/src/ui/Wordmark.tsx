import type { ReactNode } from "react";

/**
 * The mark: a plot on a title plan. On such a plan the land that is owned is edged in red, and its neighbours' lines
 * run on beyond it.
 */
export function Mark(): ReactNode {
  return (
    <svg className="mark" viewBox="0 0 64 64" aria-hidden="true" focusable="false">
      <path className="mark-lines" d="M2 21 62 10M2 51l60 5M20 2l-5 60M48 2l7 60" />
      <path className="mark-plot" d="M18.4 18 49.8 12.2l4.9 43.2-37.2-3.1z" />
    </svg>
  );
}

export function Wordmark(): ReactNode {
  return (
    <span className="wordmark">
      <Mark />
      <span>freehold</span>
    </span>
  );
}
