import { type ReactNode, useEffect, useState } from "react";
import { useStore } from "../lib/store";
import { connection, retryNow } from "../state/session";

/** Says that the server is gone and when it is tried again. */
export function ConnectionBanner(): ReactNode {
  const now = useStore(connection);
  return (
    <div role="status" className="banner-slot">
      {now.state === "lost" && (
        <div className="banner">
          <span>
            The server can’t be reached. <Countdown until={now.retryAt} />
          </span>
          <button type="button" className="text-button" onClick={() => void retryNow()}>
            Try now
          </button>
        </div>
      )}
    </div>
  );
}

function secondsUntil(time: number): number {
  return Math.max(0, Math.ceil((time - Date.now()) / 1000));
}

/** Counts for the eye only: a screen reader hears the banner once. */
function Countdown({ until }: { until: number }): ReactNode {
  const [left, setLeft] = useState(() => secondsUntil(until));
  useEffect(() => {
    setLeft(secondsUntil(until));
    const timer = setInterval(() => setLeft(secondsUntil(until)), 500);
    return () => clearInterval(timer);
  }, [until]);
  return <span aria-hidden="true">{left > 0 ? `Trying again in ${left} s.` : "Trying again…"}</span>;
}
