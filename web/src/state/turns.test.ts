import { describe, expect, it } from "vitest";
import type { AnswerFrame } from "../api/types";
import { emptyAnswer, finish, grow, turnsFrom } from "./turns";

const delta = (
  part: { content?: string; reasoning_content?: string },
  finish_reason: string | null = null,
): AnswerFrame => ({
  choices: [{ delta: part, finish_reason }],
});

describe("grow", () => {
  it("goes from waiting through thinking to the answer, and times the thinking", () => {
    let turn = emptyAnswer();
    turn = grow(turn, delta({ content: "" }), 500);
    expect(turn.phase).toBe("waiting");
    turn = grow(turn, delta({ reasoning_content: "Let me " }), 1_000);
    expect(turn.phase).toBe("thinking");
    turn = grow(turn, delta({ reasoning_content: "see." }), 2_000);
    turn = grow(turn, delta({ content: "Paris" }), 4_000);
    expect(turn).toMatchObject({
      phase: "answering",
      reasoning: "Let me see.",
      content: "Paris",
      reasoningSeconds: 3,
    });
    turn = finish(grow(turn, delta({}, "stop"), 9_000), 9_000);
    expect(turn).toMatchObject({ phase: "done", finishReason: "stop", reasoningSeconds: 3, error: null });
  });

  it("prefers the server's own timing", () => {
    const turn = grow(emptyAnswer(), delta({ reasoning_content: "x" }), 0);
    const stored = { user_message_id: "a", message_id: "b", title: null, reasoning_seconds: 7.5 };
    expect(grow(turn, { freehold: stored }, 2_000).reasoningSeconds).toBe(7.5);
  });

  it("does not change the turn it was given", () => {
    const turn = emptyAnswer();
    grow(turn, delta({ content: "x" }), 0);
    expect(turn).toEqual(emptyAnswer());
  });
});

describe("finish", () => {
  it("ends thinking that was cut off", () => {
    const thinking = grow(emptyAnswer(), delta({ reasoning_content: "hm" }), 1_000);
    expect(finish(thinking, 3_500, { finishReason: "abort" })).toMatchObject({
      phase: "done",
      finishReason: "abort",
      reasoningSeconds: 2.5,
    });
  });
});

describe("turnsFrom", () => {
  it("shows questions and answers, and leaves system messages out", () => {
    const base = {
      id: "m",
      reasoning_content: null,
      reasoning_seconds: null,
      finish_reason: null,
      created_at: "",
    };
    const turns = turnsFrom([
      { ...base, role: "system", content: "be brief" },
      { ...base, role: "user", content: "q" },
      {
        ...base,
        role: "assistant",
        content: "a",
        reasoning_content: "r",
        reasoning_seconds: 2,
        finish_reason: "length",
      },
    ]);
    expect(turns).toEqual([
      { role: "user", content: "q" },
      {
        ...emptyAnswer(),
        content: "a",
        reasoning: "r",
        reasoningSeconds: 2,
        finishReason: "length",
        phase: "done",
      },
    ]);
  });
});
