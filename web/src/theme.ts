import { Emitter } from "./state/emitter.ts";
import type { Settings } from "./state/settings.ts";

/** Light or dark: the user's choice, else the system's. */
export class Theme {
  /** True when the page turned dark. */
  readonly changed = new Emitter<boolean>();
  readonly #system = matchMedia("(prefers-color-scheme: dark)");

  constructor(private readonly settings: Settings) {
    this.#system.addEventListener("change", () => this.#apply());
    settings.changed.on((key) => key === "theme" && this.#apply());
    this.#apply();
  }

  get dark(): boolean {
    const choice = this.settings.get("theme");
    return choice === "auto" ? this.#system.matches : choice === "dark";
  }

  #apply(): void {
    const choice = this.settings.get("theme");
    if (choice === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    this.changed.emit(this.dark);
  }
}
