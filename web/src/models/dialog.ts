// The dialog of the models: which one is in use, which are kept, and the way to add one.

import { wireDialog } from "../dialogs/dialog.ts";
import { byId, count, el, fill, messageOf } from "../dom.ts";
import type { EngineHost } from "../engine/host.ts";
import { size } from "../text/bytes.ts";
import { showHidden } from "../text/hidden.ts";
import { canKeep, type KeptModel, listKept } from "./kept.ts";
import type { Found, Models } from "./models.ts";
import { hasOrigin, type PackageOrigin, PickedPackage, ServedPackage } from "./origin.ts";

export class ModelsDialog {
  readonly #dialog = byId("models", HTMLDialogElement);
  readonly #current = byId("models-current", HTMLElement);
  readonly #list = byId("models-list", HTMLElement);
  readonly #error = byId("models-error", HTMLElement);
  readonly #found = byId("models-found", HTMLElement);
  readonly #folder = byId("models-folder", HTMLButtonElement);
  readonly #address = byId("models-address", HTMLInputElement);
  /** Grows with each package that is looked at: a slower one before it is then ignored. */
  #look = 0;

  constructor(
    private readonly host: EngineHost,
    private readonly models: Models,
  ) {
    wireDialog("models", () => {
      this.#showFound(null);
      this.#showError(null);
      void this.#render();
    });
    this.#bindPicker(this.#folder, byId("models-folder-input", HTMLInputElement));
    this.#bindPicker(byId("models-files", HTMLButtonElement), byId("models-files-input", HTMLInputElement));
    const form = byId("models-address-form", HTMLFormElement);
    form.hidden = !hasOrigin();
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#examine(() => new ServedPackage(this.#address.value));
    });
    const cancel = byId("engine-cancel", HTMLButtonElement);
    cancel.addEventListener("click", () => models.cancel());
    byId("models-storage", HTMLElement).textContent = canKeep()
      ? "A model that you add is kept in this browser’s storage until you remove it."
      : "At this address the browser keeps no models: after a reload a model has to be added again.";
    const update = () => {
      cancel.hidden = models.loading === null;
      if (this.#dialog.open) void this.#render();
    };
    models.changed.on(update);
    host.changed.on(update);
  }

  #bindPicker(button: HTMLButtonElement, input: HTMLInputElement): void {
    button.addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      const files = [...(input.files ?? [])];
      // The same files can then be picked again after they changed on the disk.
      input.value = "";
      if (files.length > 0) void this.#examine(() => new PickedPackage(files));
    });
  }

  async #render(): Promise<void> {
    const { state } = this.host;
    const { loading } = this.models;
    this.#current.textContent =
      loading !== null
        ? `Loading “${showHidden(loading)}”.`
        : state.phase === "ready"
          ? `In use: ${showHidden(state.info.card.name)}, ${count(state.info.parameters, "parameter")}.`
          : "No model is in use yet.";
    const kept = await listKept();
    fill(this.#list, this.#shippedItem(), ...kept.map((model) => this.#keptItem(model)));
  }

  #shippedItem(): HTMLElement {
    const inUse = this.models.current === null && this.models.loading === null;
    return el(
      "li",
      {},
      el("span", {}, inUse ? "The page’s own model, in use" : "The page’s own model"),
      !inUse &&
        this.#button("Use", "Use the page’s own model", () => this.#act(() => this.models.useShipped())),
    );
  }

  #keptItem(model: KeptModel): HTMLElement {
    const name = showHidden(model.name);
    const inUse = this.models.current === model.hash && this.models.loading === null;
    const files = `${model.keptFiles} of ${count(model.files.length, "file")}`;
    const extent = model.complete
      ? `${size(model.bytes)} kept`
      : `${size(model.keptBytes)} of ${size(model.bytes)} kept, ${files}`;
    return el(
      "li",
      {},
      el("span", {}, `${name} (${model.precision}), ${extent}${inUse ? ", in use" : ""}`),
      !inUse && this.#useButton(model, name),
      this.#button("Remove", `Remove ${name}`, () => {
        void this.models.remove(model.hash).then(() => this.#folder.focus());
      }),
    );
  }

  #useButton(model: KeptModel, name: string): HTMLElement {
    if (model.complete)
      return this.#button("Use", `Use ${name}`, () => this.#act(() => this.models.useKept(model.hash)));
    if (model.origin.kind === "address") {
      return this.#button("Go on loading", `Go on loading ${name}`, () =>
        this.#act(() => this.models.useKept(model.hash)),
      );
    }
    return el("span", { class: "muted" }, "To go on, choose it again below.");
  }

  /** What happens then shows in the page's own bar, with a button that cancels it. */
  #act(action: () => unknown): void {
    this.#dialog.close();
    void action();
  }

  #button(text: string, label: string, onClick: () => void): HTMLElement {
    return el("button", { type: "button", "aria-label": label, onclick: onClick }, text);
  }

  async #examine(open: () => PackageOrigin): Promise<void> {
    this.#look += 1;
    const look = this.#look;
    this.#showFound(null);
    this.#showError(null);
    this.#found.setAttribute("aria-busy", "true");
    try {
      const found = await this.models.examine(open());
      if (look === this.#look) this.#showFound(found);
    } catch (error) {
      if (look === this.#look) this.#showError(showHidden(messageOf(error)));
    } finally {
      if (look === this.#look) this.#found.removeAttribute("aria-busy");
    }
  }

  #showError(message: string | null): void {
    this.#error.hidden = message === null;
    this.#error.textContent = message ?? "";
  }

  #showFound(found: Found | null): void {
    this.#found.hidden = found === null;
    fill(this.#found);
    if (!found) return;
    const { summary, fit, absent } = found;
    const stored = summary.requirements.find((requirement) => requirement.stored);
    const rows: [string, string][] = [
      ["Model", showHidden(summary.modelId)],
      ["SHA-256", summary.modelHash],
      ["Parameters", summary.parameters.toLocaleString("en")],
      [
        "Stored in",
        `${stored?.precision}, ${size(stored?.packageBytes ?? 0)}, ${count(summary.files.length, "file")}`,
      ],
      ["Weakness classes", summary.labels.length.toLocaleString("en")],
      ["Context", `${summary.contextTokens.toLocaleString("en")} tokens`],
      ["Measured figures", summary.card.figures.length === 0 ? "none" : String(summary.card.figures.length)],
    ];
    const faults = [
      absent.length > 0 &&
        `These files of the package are missing: ${absent.slice(0, 5).map(showHidden).join(", ")}${absent.length > 5 ? ` and ${absent.length - 5} more` : ""}. Choose the whole folder, or all of its files together.`,
      !fit.runs &&
        "This package does not fit on this machine. Make it again with fewer bits (cloister import --quantize), or use the command line.",
    ].filter((fault) => fault !== false);
    const load = el(
      "button",
      { type: "button", class: "primary", disabled: faults.length > 0 },
      "Load this model",
    );
    load.addEventListener("click", () => this.#act(() => this.models.add(found)));
    const heading = el("h4", { tabindex: "-1" }, showHidden(summary.card.name));
    fill(
      this.#found,
      heading,
      el("dl", {}, ...rows.flatMap(([term, text]) => [el("dt", {}, term), el("dd", {}, text)])),
      el("ul", {}, ...fit.sentences.map((sentence) => el("li", {}, sentence))),
      ...faults.map((fault) => el("p", { class: "error" }, fault)),
      load,
    );
    // Screen readers begin to read what was found.
    heading.focus();
  }
}
