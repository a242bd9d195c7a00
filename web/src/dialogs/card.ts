import type { Info, ModelCard } from "../../../crates/cloister-wasm/src/types.ts";
import { byId, el, fill } from "../dom.ts";
import type { EngineHost } from "../engine/host.ts";
import { wireDialog } from "./dialog.ts";

/** The model card: what the model is, what it learned from, what it cannot see, how good it was measured. */
export function wireCard(host: EngineHost): void {
  const body = byId("card-body", HTMLElement);
  wireDialog("card", () => {
    const { state } = host;
    if (state.phase === "ready") fill(body, ...cardParts(state.info));
    else
      fill(
        body,
        el(
          "p",
          {},
          "The card comes with the model, which is not loaded yet. Close this and wait for “ready”.",
        ),
      );
  });
}

function cardParts(info: Info): HTMLElement[] {
  const { card } = info;
  return [
    el("h3", {}, card.name),
    facts([
      ["Model", info.modelId],
      ["SHA-256", info.modelHash],
      ["Parameters", info.parameters.toLocaleString("en")],
      ["Context", `${info.contextTokens.toLocaleString("en")} tokens`],
      ["Runs on", `${info.backend === "webgpu" ? "GPU" : "processor"}, ${info.adapter}, ${info.precision}`],
      ["Self-test", selfTest(info)],
    ]),
    el("h3", {}, "Trained on"),
    list(card.trainedOn),
    el("h3", {}, "Cannot see"),
    list(card.cannotSee),
    el("h3", {}, "Measured"),
    figures(card),
  ];
}

function selfTest({ selfTest }: Info): string {
  const { maxDelta, tolerance } = selfTest;
  return `passed: largest difference ${maxDelta.toExponential(1)}, allowed ${tolerance.toExponential(1)}`;
}

function facts(rows: [string, string][]): HTMLElement {
  return el("dl", {}, ...rows.flatMap(([term, text]) => [el("dt", {}, term), el("dd", {}, text)]));
}

function list(items: readonly string[]): HTMLElement {
  return el("ul", {}, ...items.map((item) => el("li", {}, item)));
}

function figures({ figures }: ModelCard): HTMLElement {
  if (figures.length === 0) return el("p", {}, "This package carries no figures.");
  const head = ["Figure", "Value", "95% interval", "Rows", "Data", "Command"].map((text) =>
    el("th", { scope: "col" }, text),
  );
  const rows = figures.map(({ name, value, low, high, n, data, command }) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, name),
      el("td", {}, value.toFixed(3)),
      el(
        "td",
        {},
        low === null || high === null ? "not computed" : `${low.toFixed(3)} to ${high.toFixed(3)}`,
      ),
      el("td", {}, n.toLocaleString("en")),
      el("td", {}, data),
      el("td", {}, el("code", {}, command)),
    ),
  );
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
  return el(
    "div",
    { class: "table-scroll", tabindex: "0", role: "region", "aria-label": "Measured figures" },
    table,
  );
}
