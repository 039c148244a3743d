/** The pages without a chat: starting, signed out, failed. */

import type { ReactNode } from "react";
import { checkAgain } from "./state/session";
import { Wordmark } from "./ui/Wordmark";

export function Starting(): ReactNode {
  return (
    <main className="page starting" aria-busy="true">
      <h1 className="visually-hidden">Freehold is starting</h1>
      <Wordmark />
    </main>
  );
}

export function SignedOut(): ReactNode {
  return (
    <main className="page">
      <div className="card">
        <Wordmark />
        <h1>You are not signed in</h1>
        <p>
          Open the link that <code>freehold run</code> printed in its terminal. It works once and signs this
          browser in:
        </p>
        <p className="sample">
          <code>{location.origin}/auth?token=…</code>
        </p>
        <p>
          Has it been used already? Start <code>freehold run</code> again, and it prints a new one.
        </p>
        <button type="button" className="button" onClick={() => void checkAgain()}>
          I have opened it
        </button>
      </div>
    </main>
  );
}

export function StartupFailed({ message }: { message: string }): ReactNode {
  return (
    <main className="page">
      <div className="card">
        <Wordmark />
        <h1>Freehold could not start</h1>
        <p role="alert">{message}</p>
        <button type="button" className="button" onClick={() => void checkAgain()}>
          Try again
        </button>
      </div>
    </main>
  );
}
