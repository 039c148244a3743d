import { type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from "react";
import type { Chat } from "../api/types";
import { chatHref, followLink } from "../lib/router";
import { renameChatTo, titleOf } from "../state/chats";
import { removeChat } from "../state/removal";
import { Menu } from "../ui/Menu";

interface Props {
  chat: Chat;
  current: boolean;
}

export function ChatItem({ chat, current }: Props): ReactNode {
  const [renaming, setRenaming] = useState(false);
  const link = useRef<HTMLAnchorElement>(null);
  const title = titleOf(chat);

  /** The focus goes to a neighbour: it must not fall out of the list with the chat. */
  const remove = (): void => {
    const item = link.current?.closest("li");
    const neighbour = item?.nextElementSibling ?? item?.previousElementSibling;
    const target = neighbour?.querySelector("a") ?? document.querySelector<HTMLElement>(".new-chat");
    target?.focus();
    removeChat(chat);
  };

  if (renaming) {
    const done = (name: string | null): void => {
      setRenaming(false);
      if (name !== null) void renameChatTo(chat, name);
      requestAnimationFrame(() => link.current?.focus());
    };
    return (
      <li className="chat-item renaming">
        <RenameField title={title} onDone={done} />
      </li>
    );
  }
  return (
    <li className={current ? "chat-item current" : "chat-item"}>
      <a
        ref={link}
        href={chatHref(chat.id)}
        onClick={followLink}
        aria-current={current ? "page" : undefined}
        title={title}
      >
        {title}
      </a>
      <Menu
        label={`Options for ${title}`}
        items={[
          { icon: "edit", label: "Rename", run: () => setRenaming(true) },
          { icon: "trash", label: "Delete", danger: true, run: remove },
        ]}
      />
    </li>
  );
}

function RenameField({ title, onDone }: { title: string; onDone: (name: string | null) => void }): ReactNode {
  const field = useRef<HTMLInputElement>(null);
  const over = useRef(false);
  useEffect(() => field.current?.select(), []);

  const end = (name: string | null): void => {
    if (over.current) return;
    over.current = true;
    onDone(name);
  };
  const onKeyDown = (event: KeyboardEvent<HTMLInputElement>): void => {
    if (event.nativeEvent.isComposing) return;
    if (event.key === "Enter") end(event.currentTarget.value);
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      end(null);
    }
  };
  return (
    <input
      ref={field}
      className="rename"
      aria-label="Chat title"
      defaultValue={title}
      maxLength={200}
      onKeyDown={onKeyDown}
      onBlur={(event) => end(event.currentTarget.value)}
    />
  );
}
