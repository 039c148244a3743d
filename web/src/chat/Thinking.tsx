import { type ReactNode, useEffect, useId, useRef, useState } from "react";
import { duration } from "../lib/time";
import { Markdown } from "../markdown/Markdown";
import type { AssistantTurn } from "../state/turns";
import { Icon } from "../ui/Icon";

/** The thinking before an answer: live and open while it runs, then folded under how long it took. */
export function Thinking({ turn }: { turn: AssistantTurn }): ReactNode {
  const live = turn.phase === "thinking";
  const [choice, setChoice] = useState<boolean | null>(null);
  const body = useRef<HTMLDivElement>(null);
  const id = useId();
  const open = choice ?? live;

  // While it runs the newest line stays in view inside its own box.
  useEffect(() => {
    if (live && body.current && turn.reasoning) body.current.scrollTop = body.current.scrollHeight;
  }, [live, turn.reasoning]);

  return (
    <section className={live ? "thinking live" : "thinking"} aria-label="Thinking">
      <button
        type="button"
        className="thinking-head"
        aria-expanded={open}
        aria-controls={id}
        onClick={() => setChoice(!open)}
      >
        {live ? <LiveLabel since={turn.thinkingSince} /> : <span>{pastLabel(turn)}</span>}
        <Icon name="chevron" />
      </button>
      <div id={id} className="thinking-fold" hidden={!open}>
        {open && (
          <div className="thinking-body" ref={body} role="group" aria-label="Thoughts" tabIndex={0}>
            <Markdown text={turn.reasoning} streaming={live} />
          </div>
        )}
      </div>
    </section>
  );
}

function pastLabel(turn: AssistantTurn): string {
  return turn.reasoningSeconds === null ? "Thoughts" : `Thought for ${duration(turn.reasoningSeconds)}`;
}

function LiveLabel({ since }: { since: number | null }): ReactNode {
  const [now, setNow] = useState(() => performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const seconds = since === null ? 0 : Math.floor((now - since) / 1000);
  return (
    <span>
      Thinking<span aria-hidden="true">{seconds > 0 ? ` · ${duration(seconds)}` : "…"}</span>
    </span>
  );
}
