import type { ComponentProps, ReactNode } from "react";
import { Icon, type IconName } from "./Icon";

interface Props extends Omit<ComponentProps<"button">, "children" | "aria-label"> {
  icon: IconName;
  label: string;
}

/** A button that shows an icon and is called `label`. */
export function IconButton({ icon, label, className = "", ...rest }: Props): ReactNode {
  return (
    <button type="button" className={`icon-button ${className}`} aria-label={label} title={label} {...rest}>
      <Icon name={icon} />
    </button>
  );
}
