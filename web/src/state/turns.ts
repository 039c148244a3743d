/** The turns of a conversation as the app shows them, and how an answer grows: pure functions. */

import type { AnswerFrame, Message } from "../api/types";

export interface UserTurn {
  role: "user";
  content: string;
}

/** `waiting` until the first token, then `thinking`, then `answering`; `done` also when it was cut off. */
export type Phase = "waiting" | "thinking" | "answering" | "done";

export interface AssistantTurn {
  role: "assistant";
  content: string;
  reasoning: string;
  reasoningSeconds: number | null;
  finishReason: string | null;
  phase: Phase;
  /** When the thinking began, in milliseconds; only while the answer streams. */
  thinkingSince: number | null;
  error: string | null;
}

export type Turn = UserTurn | AssistantTurn;

export function emptyAnswer(): AssistantTurn {
  return {
    role: "assistant",
    content: "",
    reasoning: "",
    reasoningSeconds: null,
    finishReason: null,
    phase: "waiting",
    thinkingSince: null,
    error: null,
  };
}

export function turnsFrom(messages: readonly Message[]): Turn[] {
  const turns: Turn[] = [];
  for (const message of messages) {
    if (message.role === "user") turns.push({ role: "user", content: message.content });
    if (message.role === "assistant") {
      turns.push({
        ...emptyAnswer(),
        content: message.content,
        reasoning: message.reasoning_content ?? "",
        reasoningSeconds: message.reasoning_seconds,
        finishReason: message.finish_reason,
        phase: "done",
      });
    }
  }
  return turns;
}

/** The answer after one more frame, at time `now` in milliseconds. */
export function grow(turn: AssistantTurn, frame: AnswerFrame, now: number): AssistantTurn {
  const next = { ...turn };
  for (const choice of frame.choices ?? []) {
    const { reasoning_content: reasoning, content } = choice.delta ?? {};
    if (reasoning) {
      next.reasoning += reasoning;
      next.thinkingSince ??= now;
      if (next.phase === "waiting") next.phase = "thinking";
    }
    if (content) {
      next.content += content;
      if (next.phase !== "answering") endThinking(next, now);
      next.phase = "answering";
    }
    if (choice.finish_reason) next.finishReason = choice.finish_reason;
  }
  if (frame.freehold) next.reasoningSeconds = frame.freehold.reasoning_seconds ?? next.reasoningSeconds;
  return next;
}

/** The answer when nothing more will come, for whatever reason. */
export function finish(
  turn: AssistantTurn,
  now: number,
  end: { finishReason?: string; error?: string } = {},
): AssistantTurn {
  const next: AssistantTurn = { ...turn, phase: "done", error: end.error ?? null };
  if (end.finishReason) next.finishReason = end.finishReason;
  endThinking(next, now);
  next.thinkingSince = null;
  return next;
}

function endThinking(turn: AssistantTurn, now: number): void {
  if (turn.thinkingSince !== null && turn.reasoningSeconds === null) {
    turn.reasoningSeconds = (now - turn.thinkingSince) / 1000;
  }
}
