import {
  type FormEvent,
  type KeyboardEvent,
  type ReactNode,
  type RefObject,
  useEffect,
  useLayoutEffect,
} from "react";
import { isTouch } from "../lib/media";
import { useStore } from "../lib/store";
import { draft } from "../state/drafts";
import { wantsThinking } from "../state/preferences";
import { Icon } from "../ui/Icon";

interface Props {
  draftKey: string;
  field: RefObject<HTMLTextAreaElement | null>;
  busy: boolean;
  /** The chat is here, so that it can be continued. */
  ready: boolean;
  /** The model can think or not, as it is asked. */
  offersThinking: boolean;
  onSend: () => void;
  onStop: () => void;
}

/** The message field. It stays usable while an answer streams, so that the next question can be written. */
export function Composer({ draftKey, field, busy, ready, offersThinking, onSend, onStop }: Props): ReactNode {
  const store = draft(draftKey);
  const text = useStore(store);
  const sendable = ready && !busy && text.trim() !== "";

  // The field grows with its text up to the bound that the stylesheet sets.
  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the text.
  useLayoutEffect(() => {
    const area = field.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  }, [text, field]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: opening another chat puts the cursor into the field.
  useEffect(() => {
    if (!isTouch()) field.current?.focus();
  }, [draftKey, field]);

  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (sendable) onSend();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing || isTouch()) return;
    event.preventDefault();
    if (sendable) onSend();
  };

  return (
    <form className={offersThinking ? "composer" : "composer plain"} onSubmit={submit}>
      <textarea
        ref={field}
        rows={1}
        dir="auto"
        value={text}
        placeholder="Write a message"
        aria-label="Message"
        enterKeyHint={isTouch() ? "enter" : "send"}
        onChange={(event) => store.set(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      <div className="composer-row">
        {offersThinking && <ThinkingToggle />}
        {busy ? (
          <button type="button" className="send stop" aria-label="Stop" title="Stop (Esc)" onClick={onStop}>
            <span className="stop-square" aria-hidden="true" />
          </button>
        ) : (
          <button type="submit" className="send" aria-label="Send" title="Send (Enter)" disabled={!sendable}>
            <Icon name="send" />
          </button>
        )}
      </div>
    </form>
  );
}

function ThinkingToggle(): ReactNode {
  const on = useStore(wantsThinking);
  return (
    <button
      type="button"
      className="thinking-toggle"
      aria-pressed={on}
      title={on ? "The model thinks before it answers" : "The model answers at once"}
      onClick={() => wantsThinking.set(!on)}
    >
      <Icon name="bulb" />
      Think first
    </button>
  );
}
