import { type RefObject, useCallback, useEffect, useRef, useState } from "react";

/** Nearer to the end than this many pixels counts as being at the end. */
const NEAR_PX = 48;

interface Stick {
  scroller: RefObject<HTMLDivElement | null>;
  content: RefObject<HTMLDivElement | null>;
  /** False when the reader has scrolled up and new text arrives out of sight. */
  atEnd: boolean;
  toEnd: () => void;
}

/** Keeps the end in view while content grows, until the reader scrolls up; follows again from the end on. */
export function useStickToBottom(key: string): Stick {
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const lastTop = useRef(0);
  const [atEnd, setAtEnd] = useState(true);

  const toEnd = useCallback(() => {
    following.current = true;
    setAtEnd(true);
    const box = scroller.current;
    if (box) box.scrollTop = box.scrollHeight;
  }, []);

  useEffect(() => {
    const box = scroller.current;
    const inner = content.current;
    if (!box || !inner) return;
    const onScroll = (): void => {
      const near = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
      // Growing text never moves the view up: only the reader does.
      if (box.scrollTop < lastTop.current - 1 && !near) following.current = false;
      if (near) following.current = true;
      lastTop.current = box.scrollTop;
      setAtEnd(near || following.current);
    };
    const follow = new ResizeObserver(() => {
      if (following.current) box.scrollTop = box.scrollHeight;
      lastTop.current = box.scrollTop;
    });
    box.addEventListener("scroll", onScroll, { passive: true });
    follow.observe(inner);
    follow.observe(box);
    return () => {
      box.removeEventListener("scroll", onScroll);
      follow.disconnect();
    };
  }, []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: another chat is read from its end.
  useEffect(() => {
    lastTop.current = 0;
    toEnd();
  }, [key, toEnd]);

  return { scroller, content, atEnd, toEnd };
}
