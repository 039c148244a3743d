/** Web storage that may be switched off or full: then the app forgets, and does not fail. */

function attempt<T>(action: () => T): T | null {
  try {
    return action();
  } catch {
    return null;
  }
}

function cabinet(area: () => Storage) {
  return {
    get: (key: string): string | null => attempt(() => area().getItem(`freehold.${key}`)),
    set: (key: string, value: string): void => {
      attempt(() => area().setItem(`freehold.${key}`, value));
    },
    remove: (key: string): void => {
      attempt(() => area().removeItem(`freehold.${key}`));
    },
  };
}

/** Lasts, shared by all tabs: preferences. */
export const lasting = cabinet(() => localStorage);
/** Ends with the tab: drafts. */
export const perTab = cabinet(() => sessionStorage);
