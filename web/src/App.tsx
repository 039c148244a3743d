import type { ReactNode } from "react";
import { useStore } from "./lib/store";
import { SignedOut, Starting, StartupFailed } from "./pages";
import { Shell } from "./Shell";
import { sessionState } from "./state/session";
import { ConnectionBanner } from "./ui/ConnectionBanner";
import { Toasts } from "./ui/Toasts";

export function App(): ReactNode {
  return (
    <>
      <ConnectionBanner />
      <Page />
      <Toasts />
    </>
  );
}

function Page(): ReactNode {
  const state = useStore(sessionState);
  switch (state.phase) {
    case "loading":
      return <Starting />;
    case "signed-out":
      return <SignedOut />;
    case "failed":
      return <StartupFailed message={state.message} />;
    case "ready":
      return <Shell />;
  }
}
