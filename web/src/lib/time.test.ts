import { describe, expect, it } from "vitest";
import { dayLabel, duration, groupByDay } from "./time";

describe("duration", () => {
  it.each([
    [Number.NaN, "less than a second"],
    [0.4, "less than a second"],
    [1, "1 s"],
    [3.4, "3 s"],
    [59.6, "1 min"],
    [125, "2 min 5 s"],
  ])("says %s as %s", (seconds, words) => expect(duration(seconds)).toBe(words));
});

describe("dayLabel", () => {
  const now = new Date(2026, 2, 10, 0, 30);
  const label = (...parts: [number, number, number, number?]): string =>
    dayLabel(new Date(...parts).toISOString(), now);

  it("goes by the reader's calendar and not by 24 hours", () => {
    expect(label(2026, 2, 10)).toBe("Today");
    expect(label(2026, 2, 9, 23)).toBe("Yesterday");
    expect(label(2026, 2, 8)).toBe("Sunday");
    expect(label(2026, 1, 3)).toBe("February 3");
    expect(label(2025, 1, 3)).toBe("February 2025");
    expect(label(2026, 2, 11)).toBe("Today");
    expect(dayLabel("nonsense", now)).toBe("Earlier");
  });

  it("groups neighbours under one heading", () => {
    const at = (day: number): { updated_at: string } => ({
      updated_at: new Date(2026, 2, day).toISOString(),
    });
    expect(
      groupByDay([at(10), at(10), at(9)], now).map((group) => [group.label, group.items.length]),
    ).toEqual([
      ["Today", 2],
      ["Yesterday", 1],
    ]);
  });
});
