import "@fontsource-variable/instrument-sans/wght.css";
import "@fontsource-variable/instrument-sans/wght-italic.css";
import "./styles/index.css";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App";
import { startRouter } from "./lib/router";
import { loadChats } from "./state/chats";
import { startRemoval } from "./state/removal";
import { onReconnect, startSession } from "./state/session";
import { startTheme } from "./state/theme";

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no element with the id root.");

startTheme();
startRouter();
startRemoval();
onReconnect(() => void loadChats());
startSession();
createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
