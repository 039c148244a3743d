import { useSyncExternalStore } from "react";

/** Whether a media query holds, followed live. */
export function useMedia(query: string): boolean {
  return useSyncExternalStore(
    (notify) => {
      const list = matchMedia(query);
      list.addEventListener("change", notify);
      return () => list.removeEventListener("change", notify);
    },
    () => matchMedia(query).matches,
  );
}

export const NARROW = "(max-width: 767px)";

/** A phone or a tablet without a keyboard: there Enter is a new line, and the keyboard does not open unasked. */
export const isTouch = (): boolean => matchMedia("(hover: none) and (pointer: coarse)").matches;
