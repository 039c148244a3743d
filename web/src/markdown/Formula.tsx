import { type ReactNode, useEffect, useRef, useState } from "react";

/** Longer formulas are shown as TeX. */
export const MAX_TEX_CHARS = 5_000;

interface Props {
  tex: string;
  display: boolean;
}

/** A formula set by KaTeX, which is fetched when the first one appears; TeX that it refuses stays TeX. */
export function Formula({ tex, display }: Props): ReactNode {
  const holder = useRef<HTMLSpanElement>(null);
  const [shown, setShown] = useState(false);

  useEffect(() => {
    let current = true;
    if (tex.length > MAX_TEX_CHARS) return;
    import("./katex")
      .then(({ typeset }) => {
        if (!current || !holder.current) return;
        holder.current.replaceChildren(typeset(tex, display));
        setShown(true);
      })
      .catch(() => current && setShown(false));
    return () => {
      current = false;
    };
  }, [tex, display]);

  const scrolls = display && shown;
  return (
    <span
      className={display ? "formula formula-display" : "formula"}
      {...(scrolls ? { role: "group", "aria-label": "Formula", tabIndex: 0 } : {})}
    >
      <span ref={holder} hidden={!shown} />
      {!shown && <code>{tex}</code>}
    </span>
  );
}
