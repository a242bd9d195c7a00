import { byId } from "../dom.ts";
import type { EngineHost } from "../engine/host.ts";
import type { DeviceChoice, EditorKind, Settings, SettingsValues, ThemeChoice } from "../state/settings.ts";
import { percent } from "../text/percent.ts";

/** The settings box: device, editor, theme, sensitivity. The CWE filter is its own part. */
export class SettingsPanel {
  readonly #panel = byId("settings", HTMLElement);
  readonly #button = byId("settings-button", HTMLButtonElement);
  readonly #slider = byId("sensitivity", HTMLInputElement);
  readonly #sliderText = byId("sensitivity-text", HTMLElement);
  readonly #sliderReset = byId("sensitivity-reset", HTMLButtonElement);
  #defaultThreshold = 0.5;

  constructor(
    private readonly settings: Settings,
    host: EngineHost,
    clearEverything: () => void,
  ) {
    this.#bindRadios("device", (value) => settings.set("device", value as DeviceChoice));
    this.#bindRadios("editor", (value) => settings.set("editor", value as EditorKind));
    this.#bindRadios("theme", (value) => settings.set("theme", value as ThemeChoice));
    this.#slider.addEventListener("input", () => settings.set("threshold", this.#threshold()));
    this.#sliderReset.addEventListener("click", () => settings.set("threshold", null));
    this.#button.addEventListener("click", () => this.#toggle(this.#panel.hidden !== false));
    this.#panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      this.#toggle(false);
      this.#button.focus();
    });
    byId("clear-everything", HTMLButtonElement).addEventListener("click", clearEverything);
    settings.changed.on(() => this.#render());
    host.changed.on((state) => {
      if (state.phase !== "ready") return;
      this.#defaultThreshold = state.info.defaultThreshold;
      this.#render();
    });
    this.#render();
  }

  #toggle(open: boolean): void {
    this.#panel.hidden = !open;
    this.#button.setAttribute("aria-expanded", String(open));
  }

  /** The slider goes up with sensitivity, the threshold down. */
  #threshold(): number {
    return (100 - this.#slider.valueAsNumber) / 100;
  }

  #render(): void {
    for (const key of ["device", "editor", "theme"] as const) this.#check(key, this.settings.get(key));
    const own = this.settings.get("threshold");
    this.#slider.value = String(Math.round(100 - (own ?? this.#defaultThreshold) * 100));
    const text =
      own === null
        ? "The model’s own thresholds"
        : `Reports what the model holds at least ${percent(own)} likely`;
    this.#sliderText.textContent = text;
    this.#slider.setAttribute("aria-valuetext", text);
    this.#sliderReset.disabled = own === null;
  }

  #bindRadios(name: string, onChange: (value: string) => void): void {
    for (const input of this.#radios(name)) {
      input.addEventListener("change", () => input.checked && onChange(input.value));
    }
  }

  #check(name: keyof SettingsValues, value: string): void {
    for (const input of this.#radios(name)) input.checked = input.value === value;
  }

  #radios(name: string): HTMLInputElement[] {
    return [...this.#panel.querySelectorAll<HTMLInputElement>(`input[type=radio][name="${name}"]`)];
  }
}
