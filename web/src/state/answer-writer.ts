import type { Store } from "../lib/store";
import type { Conversation } from "./conversations";
import { type AssistantTurn, emptyAnswer, finish } from "./turns";

/** Gathers the tokens of one answer and shows them once per frame. */
export class AnswerWriter {
  #turn: AssistantTurn = emptyAnswer();
  #scheduled = false;
  #closed = false;

  readonly #store: Store<Conversation>;

  constructor(store: Store<Conversation>) {
    this.#store = store;
  }

  change(next: (turn: AssistantTurn) => AssistantTurn): void {
    this.#turn = next(this.#turn);
    if (this.#scheduled) return;
    this.#scheduled = true;
    const show = (): void => {
      this.#scheduled = false;
      if (!this.#closed) this.#show();
    };
    if (document.visibilityState === "visible") requestAnimationFrame(show);
    else setTimeout(show, 250);
  }

  end(how: { finishReason?: string; error?: string }): void {
    this.#turn = finish(this.#turn, performance.now(), how);
    this.#closed = true;
    this.#show();
  }

  discard(): void {
    this.#closed = true;
  }

  #show(): void {
    this.#store.update((now) => ({ ...now, turns: [...now.turns.slice(0, -1), this.#turn] }));
  }
}
