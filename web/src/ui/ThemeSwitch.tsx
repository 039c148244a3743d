import type { ReactNode } from "react";
import { useStore } from "../lib/store";
import { type ThemeChoice, themeChoice } from "../state/theme";
import { Icon, type IconName } from "./Icon";

const CHOICES: readonly { value: ThemeChoice; icon: IconName; label: string }[] = [
  { value: "light", icon: "sun", label: "Light" },
  { value: "system", icon: "screen", label: "As the system" },
  { value: "dark", icon: "moon", label: "Dark" },
];

export function ThemeSwitch(): ReactNode {
  const chosen = useStore(themeChoice);
  return (
    <fieldset className="theme-switch">
      <legend className="visually-hidden">Theme</legend>
      {CHOICES.map(({ value, icon, label }) => (
        <label key={value} title={label}>
          <input
            type="radio"
            name="theme"
            value={value}
            checked={chosen === value}
            onChange={() => themeChoice.set(value)}
          />
          <Icon name={icon} />
          <span className="visually-hidden">{label}</span>
        </label>
      ))}
    </fieldset>
  );
}
