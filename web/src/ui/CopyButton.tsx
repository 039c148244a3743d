import { type ReactNode, useEffect, useRef, useState } from "react";
import { copyText } from "../lib/clipboard";
import { showToast } from "../state/toasts";
import { IconButton } from "./IconButton";

const SHOWN_MS = 1_600;

/** Copies `text` and says so by its icon and its name. */
export function CopyButton({ text, label }: { text: string; label: string }): ReactNode {
  const [copied, setCopied] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);

  const copy = async (): Promise<void> => {
    if (!(await copyText(text))) {
      showToast({ text: "The browser did not allow copying. Select the text and copy it by hand." });
      return;
    }
    setCopied(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setCopied(false), SHOWN_MS);
  };

  return (
    <IconButton
      className="quiet"
      icon={copied ? "check" : "copy"}
      label={copied ? "Copied" : label}
      onClick={() => void copy()}
    />
  );
}
