/** Which addresses a model's text may link to: the web and mail, nothing that runs or reads here. */

const ALLOWED = new Set(["http:", "https:", "mailto:"]);

/** The address in canonical form, or null where it must not become a link. Relative addresses are refused too. */
export function safeHref(address: string): string | null {
  try {
    const url = new URL(address.trim());
    return ALLOWED.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}
