import { type ReactNode, useRef } from "react";
import type { Turn } from "../state/turns";

/** Tells a screen reader where the answer is, in words, instead of reading every token. */
export function LiveStatus({ turns, busy }: { turns: readonly Turn[]; busy: boolean }): ReactNode {
  const wasBusy = useRef(false);
  if (busy) wasBusy.current = true;
  return (
    <div className="visually-hidden" role="status">
      {wasBusy.current ? describe(turns.at(-1)) : ""}
    </div>
  );
}

function describe(turn: Turn | undefined): string {
  if (turn?.role !== "assistant") return "";
  if (turn.phase === "waiting") return "Waiting for the answer";
  if (turn.phase === "thinking") return "Thinking";
  if (turn.phase === "answering") return "Answering";
  if (turn.error) return "";
  return turn.finishReason === "abort" ? "Answer stopped" : "Answer finished";
}
