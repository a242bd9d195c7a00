import { byId, el, fill } from "../dom.ts";
import type { Documents } from "../state/documents.ts";
import { showHidden } from "../text/hidden.ts";

/** The open files as a row of buttons, each with its number of findings. */
export class Tabs {
  readonly #list = byId("tabs", HTMLElement);
  #findings = new Map<string, number>();

  constructor(private readonly documents: Documents) {
    documents.changed.on((event) => event.kind !== "text" && this.#render());
    this.#list.addEventListener("keydown", (event) => this.#moveFocus(event));
    byId("new-file", HTMLButtonElement).addEventListener("click", () => documents.addBlank());
    this.#render();
  }

  /** Findings by file name. */
  showCounts(counts: Map<string, number>): void {
    this.#findings = counts;
    this.#render();
  }

  #render(): void {
    const focusedId = document.activeElement?.closest<HTMLElement>("[data-document]")?.dataset.document;
    const { active, list } = this.documents;
    const alone = list.length === 1 && active.text === "" && active.untouched;
    fill(
      this.#list,
      ...list.map(({ id, name }) => {
        const shown = showHidden(name);
        const found = this.#findings.get(name) ?? 0;
        const current = id === active.id;
        const select = el(
          "button",
          {
            type: "button",
            class: "tab-name",
            "aria-current": current ? "true" : null,
            title: shown,
            onclick: () => this.documents.activate(id),
          },
          el("bdi", {}, shown),
          found > 0 && el("span", { class: "tab-count", "aria-label": `, ${found} found` }, String(found)),
        );
        const close = el(
          "button",
          {
            type: "button",
            class: "tab-close",
            "aria-label": `Close ${shown}`,
            onclick: () => this.documents.close(id),
          },
          "×",
        );
        return el(
          "li",
          { class: current ? "tab tab-current" : "tab", "data-document": id },
          select,
          !alone && close,
        );
      }),
    );
    if (focusedId !== undefined) this.#focus(focusedId);
    this.#list.querySelector(".tab-current")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  #focus(id: string): void {
    const tabs = [...this.#list.querySelectorAll<HTMLElement>("[data-document]")];
    const tab =
      tabs.find((candidate) => candidate.dataset.document === id) ?? this.#list.querySelector(".tab-current");
    tab?.querySelector<HTMLElement>(".tab-name")?.focus();
  }

  #moveFocus(event: KeyboardEvent): void {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step === 0 || !(event.target instanceof Element) || !event.target.matches(".tab-name")) return;
    const names = [...this.#list.querySelectorAll<HTMLElement>(".tab-name")];
    names[names.indexOf(event.target as HTMLElement) + step]?.focus();
    event.preventDefault();
  }
}
