import type { ReactNode } from "react";

/** What stands above the field of a new chat. */
export function Welcome(): ReactNode {
  return (
    <div className="welcome">
      <TitlePlan />
      <h1>What would you like to know?</h1>
      <p>Questions and answers stay on your own server.</p>
    </div>
  );
}

/** A corner of a title plan, with the plot that is owned edged in red. */
function TitlePlan(): ReactNode {
  return (
    <svg className="title-plan" viewBox="0 0 240 132" aria-hidden="true" focusable="false">
      <path
        className="plan-road"
        d="M0 104c46-9 92-10 138-5 38 4 70 4 102-2M0 118c47-9 93-10 138-5 38 4 70 4 102-2"
      />
      <path
        className="plan-lines"
        d="M12 102 18 20M58 97 60 14M18 20c50-9 122-13 204-6M184 101l6-87M222 14l-3 85M20 58l39-3M187 54l33 2M137 99l4-88M60 40l79-2M92 98l3-59"
      />
      <path
        className="plan-house"
        d="m106 62 18-1 1 15-18 1zM30 72l15-1 1 13-15 1zM198 68l13 1-1 14-12-1zM70 22l14-1 1 10-15 1zM152 30l20 1-1 18-19-1z"
      />
      <path className="plan-plot" d="M95 39.2 139 38l-2.4 61-44.8-1.3z" />
    </svg>
  );
}
