import { byId } from "../dom.ts";

/** The line above the editor for things the user should read once, with a button to put it away. */
export class Messages {
  readonly #box = byId("message", HTMLElement);
  readonly #text = byId("message-text", HTMLElement);

  constructor() {
    byId("message-close", HTMLButtonElement).addEventListener("click", () => this.clear());
  }

  show(text: string): void {
    this.#text.textContent = text;
    this.#box.hidden = false;
  }

  clear(): void {
    this.#box.hidden = true;
    this.#text.textContent = "";
  }
}
