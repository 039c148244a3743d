import type { ReactNode } from "react";
import type { Turn } from "../state/turns";
import { Answer, Question } from "./Answer";

interface Props {
  turns: readonly Turn[];
  /** Asks the last question again; null where there is nothing to retry. */
  onRetry: (() => void) | null;
}

export function Thread({ turns, onRetry }: Props): ReactNode {
  return turns.map((turn, index) =>
    turn.role === "user" ? (
      // biome-ignore lint/suspicious/noArrayIndexKey: turns are only ever added at the end.
      <Question key={index} text={turn.content} />
    ) : (
      // biome-ignore lint/suspicious/noArrayIndexKey: turns are only ever added at the end.
      <Answer key={index} turn={turn} onRetry={index === turns.length - 1 ? onRetry : null} />
    ),
  );
}
