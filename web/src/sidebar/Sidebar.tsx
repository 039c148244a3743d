import type { ReactNode } from "react";
import { followLink, route } from "../lib/router";
import { useStore } from "../lib/store";
import { groupByDay } from "../lib/time";
import { chatList, loadChats, loadOlderChats } from "../state/chats";
import { sessionState, signOut } from "../state/session";
import { Icon } from "../ui/Icon";
import { IconButton } from "../ui/IconButton";
import { ThemeSwitch } from "../ui/ThemeSwitch";
import { Wordmark } from "../ui/Wordmark";
import { ChatItem } from "./ChatItem";

interface Props {
  closeIcon: "panel" | "close";
  onClose: () => void;
}

/** The history and the settings; beside the chat on a wide window, a drawer on a narrow one. */
export function Sidebar({ closeIcon, onClose }: Props): ReactNode {
  return (
    <div className="sidebar">
      <div className="sidebar-top">
        <a className="home" href="/" onClick={followLink} aria-label="Freehold, new chat">
          <Wordmark />
        </a>
        <IconButton className="quiet" icon={closeIcon} label="Close history" onClick={onClose} />
      </div>
      <a className="new-chat" href="/" onClick={followLink}>
        <Icon name="plus" />
        New chat
      </a>
      <History />
      <SidebarFoot />
    </div>
  );
}

function History(): ReactNode {
  const list = useStore(chatList);
  const { chatId } = useStore(route);
  return (
    <nav className="history" aria-label="Chats">
      {groupByDay(list.chats, new Date()).map((group) => (
        <section key={group.label}>
          <h2>{group.label}</h2>
          <ul>
            {group.items.map((chat) => (
              <ChatItem key={chat.id} chat={chat} current={chat.id === chatId} />
            ))}
          </ul>
        </section>
      ))}
      {list.error && (
        <p className="history-note" role="alert">
          {list.error}{" "}
          <button type="button" className="text-button" onClick={() => void loadChats()}>
            Try again
          </button>
        </p>
      )}
      {list.loaded && list.chats.length === 0 && (
        <p className="history-note">Your chats will be kept here.</p>
      )}
      {list.next && (
        <button
          type="button"
          className="text-button older"
          disabled={list.loading}
          onClick={() => void loadOlderChats()}
        >
          {list.loading ? "Loading…" : "Show older chats"}
        </button>
      )}
    </nav>
  );
}

function SidebarFoot(): ReactNode {
  const state = useStore(sessionState);
  const name = state.phase === "ready" ? state.session.user.name : "";
  return (
    <div className="sidebar-foot">
      <ThemeSwitch />
      <span className="user-name" title={name}>
        {name}
      </span>
      <IconButton className="quiet" icon="leave" label="Sign out" onClick={() => void signOut()} />
    </div>
  );
}
