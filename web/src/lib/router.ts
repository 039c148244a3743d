import type { MouseEvent } from "react";
import { Store } from "./store";

/** Where the app is: a chat, or the page for a new one (`null`). */
export interface Route {
  chatId: string | null;
}

export function parseRoute(pathname: string): Route {
  const match = /^\/c\/([^/]+)\/?$/.exec(pathname);
  if (!match?.[1]) return { chatId: null };
  try {
    return { chatId: decodeURIComponent(match[1]) };
  } catch {
    return { chatId: null };
  }
}

export const chatHref = (id: string): string => `/c/${encodeURIComponent(id)}`;

export const route = new Store<Route>({ chatId: null });

function adopt(): void {
  const next = parseRoute(location.pathname);
  if (next.chatId === null && location.pathname !== "/") history.replaceState(null, "", "/");
  if (next.chatId !== route.get().chatId) route.set(next);
}

/** Begins following the address bar. */
export function startRouter(): void {
  adopt();
  addEventListener("popstate", adopt);
}

export function navigate(href: string, { replace = false } = {}): void {
  if (href === location.pathname) return;
  history[replace ? "replaceState" : "pushState"](null, "", href);
  adopt();
}

/** For a link's `onClick`: plain clicks stay in the app, all others are the browser's. */
export function followLink(event: MouseEvent<HTMLAnchorElement>): void {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  navigate(event.currentTarget.pathname);
}
