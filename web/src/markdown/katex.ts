/** KaTeX without HTML text and without style attributes, so that it works under `style-src 'self'`. */

import "katex/dist/katex.min.css";
import katex, { type KatexOptions } from "katex";

const OPTIONS: KatexOptions = {
  // No \href, \url, \includegraphics, \htmlClass…: TeX comes from a model.
  trust: false,
  strict: false,
  throwOnError: true,
  maxSize: 20,
  maxExpand: 500,
};

/** The part of KaTeX's tree that matters here: nodes with attributes, and their children. */
interface TreeNode {
  attributes?: Record<string, string>;
  children?: TreeNode[];
  toNode: () => globalThis.Node;
}

/** KaTeX has this function for its own extensions and leaves it out of its types. */
interface WithTree {
  __renderToDomTree: (tex: string, options: KatexOptions) => TreeNode;
}

const { __renderToDomTree: treeOf } = katex as typeof katex & WithTree;

const STYLE = "data-style";

/** Most styles are set through the CSSOM; the few that KaTeX writes as an attribute are carried over to it. */
function hideStyleAttributes(node: TreeNode): void {
  const style = node.attributes?.style;
  if (node.attributes && style !== undefined) {
    delete node.attributes.style;
    node.attributes[STYLE] = style;
  }
  for (const child of node.children ?? []) hideStyleAttributes(child);
}

/**
 * Sets TeX as DOM nodes.
 *
 * @throws katex.ParseError for TeX that KaTeX does not know or that exceeds its bounds.
 */
export function typeset(tex: string, display: boolean): DocumentFragment {
  const tree = treeOf(tex, { ...OPTIONS, displayMode: display });
  hideStyleAttributes(tree);
  const fragment = document.createDocumentFragment();
  fragment.append(tree.toNode());
  for (const element of fragment.querySelectorAll<HTMLElement>(`[${STYLE}]`)) {
    element.style.cssText = element.getAttribute(STYLE) ?? "";
    element.removeAttribute(STYLE);
  }
  return fragment;
}
