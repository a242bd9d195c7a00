import { byId } from "../dom.ts";

const SETTLE_MS = 300;

/** Tells screen readers what changed, without repeating itself while the user types. */
export class Announcer {
  readonly #node = byId("announcer", HTMLElement);
  #last = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  say(message: string): void {
    if (message === this.#last) return;
    this.#last = message;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#node.textContent = message;
    }, SETTLE_MS);
  }
}
