/** Light, dark, or as the system says. `public/theme.js` sets the same before the first paint. */

import { lasting } from "../lib/storage";
import { Store } from "../lib/store";

export type ThemeChoice = "system" | "light" | "dark";

const BACKGROUND = { light: "#f4f6f3", dark: "#121613" } as const;

function stored(): ThemeChoice {
  const value = lasting.get("theme");
  return value === "light" || value === "dark" ? value : "system";
}

export const themeChoice = new Store<ThemeChoice>(stored());

export function startTheme(): void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = (): void => {
    const choice = themeChoice.get();
    const theme = choice === "system" ? (system.matches ? "dark" : "light") : choice;
    document.documentElement.dataset.theme = theme;
    document.querySelector('meta[name="theme-color"]')?.setAttribute("content", BACKGROUND[theme]);
  };
  system.addEventListener("change", apply);
  themeChoice.subscribe(() => {
    lasting.set("theme", themeChoice.get());
    apply();
  });
  apply();
}
