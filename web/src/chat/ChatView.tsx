import { type ReactNode, useEffect, useRef } from "react";
import type { NewMessage } from "../api/types";
import { navigate, route } from "../lib/router";
import { useStore } from "../lib/store";
import { preloadMarkdown } from "../markdown/Markdown";
import { conversation, dismissFailure, openConversation } from "../state/conversations";
import { draft, NEW_CHAT, takeDraft } from "../state/drafts";
import { wantsThinking } from "../state/preferences";
import { send, stop } from "../state/sending";
import { connection } from "../state/session";
import type { Turn } from "../state/turns";
import { Icon } from "../ui/Icon";
import { IconButton } from "../ui/IconButton";
import { Composer } from "./Composer";
import { LiveStatus } from "./LiveStatus";
import { Thread } from "./Thread";
import { useModel } from "./useModel";
import { useStickToBottom } from "./useStickToBottom";
import { Welcome } from "./Welcome";

/** How often a chat is read again while another window's answer is being written in it. */
const ELSEWHERE_MS = 1500;

/** One conversation, or the page for a new one. */
export function ChatView(): ReactNode {
  const { chatId } = useStore(route);
  const key = chatId ?? NEW_CHAT;
  const state = useStore(conversation(key));
  const online = useStore(connection).state === "online";
  const model = useModel();
  const field = useRef<HTMLTextAreaElement>(null);
  const { scroller, content, atEnd, toEnd } = useStickToBottom(key);

  useEffect(() => {
    if (chatId && online) void openConversation(chatId);
    preloadMarkdown();
  }, [chatId, online]);

  useEffect(() => {
    if (!chatId || !online || !state.elsewhere || state.busy) return;
    const timer = setInterval(() => void openConversation(chatId), ELSEWHERE_MS);
    return () => clearInterval(timer);
  }, [chatId, online, state.elsewhere, state.busy]);

  useEffect(() => {
    if (!state.busy) return;
    const onKeyDown = (event: KeyboardEvent): void => {
      if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      stop(key);
    };
    addEventListener("keydown", onKeyDown);
    return () => removeEventListener("keydown", onKeyDown);
  }, [state.busy, key]);

  const ask = (content: string): void => {
    const message: NewMessage = { content };
    if (model.offersThinking) message.thinking = wantsThinking.get();
    toEnd();
    void send(key, message);
  };
  const sendDraft = (): void => {
    if (draft(key).get().trim()) ask(takeDraft(key));
  };
  const stopHere = (): void => {
    stop(key);
    field.current?.focus({ preventScroll: true });
  };

  const elsewhere = state.load === "ready" && state.elsewhere && !state.busy;
  const fresh = state.load === "ready" && state.turns.length === 0 && !elsewhere;
  return (
    <div className={fresh ? "chat fresh" : "chat"}>
      <div className="scroller" ref={scroller} role="region" aria-label="Conversation" tabIndex={0}>
        <div className="column" ref={content}>
          {state.load === "ready" && fresh && <Welcome />}
          {state.load === "ready" && !fresh && (
            <Thread turns={state.turns} onRetry={retry(state.turns, ask)} />
          )}
          {elsewhere && (
            <p className="elsewhere" role="status">
              An answer is being written in another window.
            </p>
          )}
          {state.load === "loading" && <p className="visually-hidden">Loading the chat…</p>}
          {state.load === "missing" && <Missing />}
          {state.load === "failed" && (
            <div className="notice" role="alert">
              <Icon name="alert" />
              <span className="notice-text">The chat could not be loaded: {state.loadError}</span>
              <button type="button" className="text-button" onClick={() => void openConversation(key)}>
                Try again
              </button>
            </div>
          )}
        </div>
      </div>
      <div className="dock">
        {!atEnd && <IconButton className="to-end" icon="down" label="Go to the end" onClick={toEnd} />}
        {state.failure && (
          <div className="notice" role="alert">
            <Icon name="alert" />
            <span className="notice-text">Your message was not sent: {state.failure}</span>
            <button type="button" className="text-button" onClick={sendDraft}>
              Try again
            </button>
            <IconButton className="quiet" icon="close" label="Dismiss" onClick={() => dismissFailure(key)} />
          </div>
        )}
        {state.load !== "missing" && (
          <Composer
            draftKey={key}
            field={field}
            busy={state.busy}
            ready={state.load === "ready" && !elsewhere}
            offersThinking={model.offersThinking}
            onSend={sendDraft}
            onStop={stopHere}
          />
        )}
        <p className="fine-print">{model.name} can be wrong. Check what matters.</p>
      </div>
      <LiveStatus key={key} turns={state.turns} busy={state.busy} />
    </div>
  );
}

/** How to ask again after the last answer broke off. */
function retry(turns: readonly Turn[], ask: (content: string) => void): (() => void) | null {
  const [question, answer] = turns.slice(-2);
  if (question?.role !== "user" || answer?.role !== "assistant" || !answer.error) return null;
  return () => ask(question.content);
}

function Missing(): ReactNode {
  return (
    <div className="missing">
      <h1>There is no such chat</h1>
      <p>It was deleted, or it belongs to somebody else.</p>
      <button type="button" className="button" onClick={() => navigate("/")}>
        Start a new chat
      </button>
    </div>
  );
}
