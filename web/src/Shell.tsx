import { type MouseEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { ChatView } from "./chat/ChatView";
import { useModel } from "./chat/useModel";
import { NARROW, useMedia } from "./lib/media";
import { followLink, route } from "./lib/router";
import { useStore } from "./lib/store";
import { Sidebar } from "./sidebar/Sidebar";
import { chatList, loadChats, titleOf } from "./state/chats";
import { sidebarOpen } from "./state/preferences";
import { toastHost } from "./state/toasts";
import { Icon } from "./ui/Icon";
import { IconButton } from "./ui/IconButton";

/** The history beside the chat. */
export function Shell(): ReactNode {
  const narrow = useMedia(NARROW);
  const open = useStore(sidebarOpen);
  const [drawer, setDrawer] = useState(false);
  const showButton = narrow || !open;

  useEffect(() => void loadChats(), []);
  useTitle();

  return (
    <div className={narrow || !open ? "shell" : "shell with-sidebar"}>
      {narrow ? (
        <Drawer open={drawer} onClose={() => setDrawer(false)} />
      ) : (
        open && (
          <aside aria-label="History">
            <Sidebar closeIcon="panel" onClose={() => sidebarOpen.set(false)} />
          </aside>
        )
      )}
      <main>
        <Header
          menu={
            showButton && (
              <IconButton
                className="quiet"
                icon={narrow ? "menu" : "panel"}
                label="Open history"
                onClick={() => (narrow ? setDrawer(true) : sidebarOpen.set(true))}
              />
            )
          }
          newChat={showButton}
        />
        <ChatView />
      </main>
    </div>
  );
}

function Header({ menu, newChat }: { menu: ReactNode; newChat: boolean }): ReactNode {
  const title = useCurrentTitle();
  const model = useModel();
  return (
    <header className="top">
      {menu}
      <div className="top-title">
        {title && <h1 title={title}>{title}</h1>}
        <p title="The model that answers">{model.name}</p>
      </div>
      {newChat && (
        <a className="icon-button quiet" href="/" onClick={followLink} aria-label="New chat" title="New chat">
          <Icon name="plus" />
        </a>
      )}
    </header>
  );
}

/** A modal drawer: the browser keeps the focus inside, and Esc closes it. */
function Drawer({ open, onClose }: { open: boolean; onClose: () => void }): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null);

  useEffect(() => {
    if (!open) return;
    const shown = dialog.current;
    shown?.showModal();
    toastHost.set(shown);
    return () => {
      toastHost.set(null);
      shown?.close();
    };
  }, [open]);

  /** The backdrop closes the drawer, and so does every link in it. */
  const onClick = (event: MouseEvent<HTMLDialogElement>): void => {
    const { target, currentTarget } = event;
    if (target === currentTarget || (target instanceof Element && target.closest("a[href]"))) onClose();
  };

  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Esc closes a modal dialog; the click is on its backdrop.
    <dialog ref={dialog} className="drawer" aria-label="History" onClose={onClose} onClick={onClick}>
      {open && <Sidebar closeIcon="close" onClose={onClose} />}
    </dialog>
  );
}

function useCurrentTitle(): string | null {
  const { chatId } = useStore(route);
  const list = useStore(chatList);
  if (chatId === null) return null;
  const chat = list.chats.find((one) => one.id === chatId);
  return chat ? titleOf(chat) : null;
}

function useTitle(): void {
  const title = useCurrentTitle();
  useEffect(() => {
    document.title = title ? `${title} · Freehold` : "Freehold";
  }, [title]);
}
