/** Short notes at the foot of the window, each with at most one action. */

import { Store } from "../lib/store";

export interface Toast {
  id: number;
  text: string;
  action?: { label: string; run: () => void };
  /** Called when the toast goes without its action. */
  expired?: () => void;
}

export const TOAST_MS = 6_000;
/** Where toasts are shown: the modal that is open, since everything outside it is inert; else the page. */
export const toastHost = new Store<HTMLElement | null>(null);
export const toasts = new Store<readonly Toast[]>([]);

let nextId = 1;
const timers = new Map<number, ReturnType<typeof setTimeout>>();

export function showToast(toast: Omit<Toast, "id">): number {
  const id = nextId++;
  toasts.update((all) => [...all, { ...toast, id }]);
  resumeToast(id);
  return id;
}

/** Stops the clock while the pointer or the focus rests on a toast. */
export function holdToast(id: number): void {
  clearTimeout(timers.get(id));
}

export function resumeToast(id: number): void {
  clearTimeout(timers.get(id));
  timers.set(
    id,
    setTimeout(() => dismissToast(id), TOAST_MS),
  );
}

export function dismissToast(id: number): void {
  const toast = remove(id);
  toast?.expired?.();
}

export function actOnToast(id: number): void {
  const toast = remove(id);
  toast?.action?.run();
}

function remove(id: number): Toast | undefined {
  clearTimeout(timers.get(id));
  timers.delete(id);
  const toast = toasts.get().find((one) => one.id === id);
  toasts.update((all) => all.filter((one) => one.id !== id));
  return toast;
}
