import type { ReactNode } from "react";
import { createPortal } from "react-dom";
import { useStore } from "../lib/store";
import { actOnToast, dismissToast, holdToast, resumeToast, toastHost, toasts } from "../state/toasts";
import { IconButton } from "./IconButton";

export function Toasts(): ReactNode {
  const shown = useStore(toasts);
  const host = useStore(toastHost);
  return createPortal(
    <div className="toasts" role="status">
      {shown.map((toast) => (
        // biome-ignore lint/a11y/noStaticElementInteractions: resting on a toast only holds its clock.
        <div
          key={toast.id}
          className="toast"
          onPointerEnter={() => holdToast(toast.id)}
          onPointerLeave={() => resumeToast(toast.id)}
          onFocus={() => holdToast(toast.id)}
          onBlur={() => resumeToast(toast.id)}
        >
          <span className="toast-text">{toast.text}</span>
          {toast.action && (
            <button type="button" className="text-button" onClick={() => actOnToast(toast.id)}>
              {toast.action.label}
            </button>
          )}
          <IconButton className="quiet" icon="close" label="Dismiss" onClick={() => dismissToast(toast.id)} />
        </div>
      ))}
    </div>,
    host ?? document.body,
  );
}
