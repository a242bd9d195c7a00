import { byId, count, el, fill } from "../dom.ts";
import type { Settings } from "../state/settings.ts";

/** A box per CWE that the model knows. All ticked is stored as "all", so a newer model's classes are in. */
export class CweFilter {
  readonly #list = byId("cwe-list", HTMLElement);
  readonly #count = byId("cwe-count", HTMLElement);
  #labels: string[] = [];
  #names = new Map<string, string>();

  constructor(private readonly settings: Settings) {
    byId("cwe-all", HTMLButtonElement).addEventListener("click", () => settings.set("cwes", null));
    byId("cwe-none", HTMLButtonElement).addEventListener("click", () => settings.set("cwes", []));
    settings.changed.on((key) => key === "cwes" && this.#render());
    this.#render();
  }

  setLabels(labels: readonly string[]): void {
    const number = (cwe: string) => Number(cwe.replace(/\D+/g, ""));
    this.#labels = labels.filter((label) => /^CWE-\d+$/.test(label)).sort((a, b) => number(a) - number(b));
    this.#render();
  }

  /** Names come with the findings; a class never found yet is listed by its id. */
  learnNames(names: Iterable<[string, string]>): void {
    let learned = false;
    for (const [cwe, name] of names) {
      learned ||= !this.#names.has(cwe);
      this.#names.set(cwe, name);
    }
    if (learned) this.#render();
  }

  #render(): void {
    const chosen = this.settings.get("cwes");
    const isOn = (cwe: string) => chosen === null || chosen.includes(cwe);
    const on = this.#labels.filter(isOn).length;
    this.#count.textContent =
      this.#labels.length === 0
        ? "Known once the model is loaded."
        : chosen === null
          ? `All ${this.#labels.length} are reported.`
          : `${on} of ${count(this.#labels.length, "class", "classes")} reported.`;
    const focused = document.activeElement instanceof HTMLInputElement ? document.activeElement.value : null;
    fill(this.#list, ...this.#labels.map((cwe) => this.#box(cwe, isOn(cwe))));
    if (focused === null) return;
    const again = [...this.#list.querySelectorAll("input")].find((input) => input.value === focused);
    again?.focus();
  }

  #box(cwe: string, on: boolean): HTMLElement {
    const input = el("input", { type: "checkbox", value: cwe });
    input.checked = on;
    input.addEventListener("change", () => this.#toggle(cwe, input.checked));
    const name = this.#names.get(cwe);
    return el("label", { class: "cwe" }, input, el("span", {}, cwe, name ? ` ${name}` : ""));
  }

  #toggle(cwe: string, on: boolean): void {
    const before = this.settings.get("cwes") ?? this.#labels;
    const after = on ? [...before, cwe] : before.filter((other) => other !== cwe);
    const all = this.#labels.every((label) => after.includes(label));
    this.settings.set("cwes", all ? null : after);
  }
}
