import { memo, type ReactNode } from "react";
import { Markdown } from "../markdown/Markdown";
import type { AssistantTurn } from "../state/turns";
import { CopyButton } from "../ui/CopyButton";
import { Icon } from "../ui/Icon";
import { Thinking } from "./Thinking";

/** Why an answer ends where it does, when that is not because it was finished. */
const ENDINGS: Record<string, string> = {
  abort: "Stopped.",
  length: "The answer reached its length limit.",
  insufficient_system_resource: "The server ran out of room for this answer.",
};

interface Props {
  turn: AssistantTurn;
  /** Asks the question again; only after an error. */
  onRetry: (() => void) | null;
}

export const Answer = memo(({ turn, onRetry }: Props): ReactNode => {
  const done = turn.phase === "done";
  const ending = done && turn.finishReason ? ENDINGS[turn.finishReason] : undefined;
  return (
    <article className="answer">
      <h2 className="visually-hidden">Answer</h2>
      {turn.reasoning && <Thinking turn={turn} />}
      {turn.content && <Markdown text={turn.content} streaming={!done} />}
      {turn.phase === "waiting" && <div className="waiting" aria-hidden="true" />}
      {turn.error && (
        <div className="notice" role="alert">
          <Icon name="alert" />
          <span className="notice-text">The answer broke off: {turn.error}</span>
          {onRetry && (
            <button type="button" className="text-button" onClick={onRetry}>
              Ask again
            </button>
          )}
        </div>
      )}
      {done && (turn.content || ending) && (
        <div className="answer-foot">
          {turn.content && <CopyButton text={turn.content} label="Copy answer" />}
          {ending && <span className="ending">{ending}</span>}
        </div>
      )}
    </article>
  );
});

export const Question = memo(
  ({ text }: { text: string }): ReactNode => (
    <article className="question">
      <h2 className="visually-hidden">You</h2>
      <div className="question-text">{text}</div>
    </article>
  ),
);
