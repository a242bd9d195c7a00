import type { Analysis, UnitVerdict } from "../../../crates/cloister-wasm/src/types.ts";
import { count, el, fill } from "../dom.ts";
import { showHidden } from "../text/hidden.ts";
import { percent } from "../text/percent.ts";

const MOST_ROWS = 500;

/** A closed box with what the model said of every unit, so that silence can be told from doubt. */
export function unitsBox(analysis: Analysis, manyFiles: boolean): HTMLElement {
  const box = el("details", { class: "units" });
  box.append(el("summary", {}, `What the model said of each of ${count(analysis.units.length, "unit")}`));
  const body = el("div", { class: "units-body", tabindex: "0", role: "region", "aria-label": "Units" });
  box.append(body);
  // Thousands of rows are worth building only for someone who looks.
  box.addEventListener("toggle", () => box.open && fill(body, ...table(analysis, manyFiles)), { once: true });
  return box;
}

function table(analysis: Analysis, manyFiles: boolean): HTMLElement[] {
  const withFinding = new Set(
    analysis.findings.map(({ file, unit }) => key(file, unit.range.start.line, unit.name)),
  );
  const head = ["Unit", "Verdict", "No weakness", "Likeliest weakness"].map((text) =>
    el("th", { scope: "col" }, text),
  );
  const rows = analysis.units.slice(0, MOST_ROWS).map((verdict) => {
    const { file, unit } = verdict;
    return row(verdict, manyFiles, withFinding.has(key(file, unit.range.start.line, unit.name)));
  });
  const left = analysis.units.length - rows.length;
  const parts: HTMLElement[] = [
    el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows)),
  ];
  if (left > 0) parts.push(el("p", {}, `${count(left, "more unit")}: save the JSON export to see all.`));
  return parts;
}

function row(verdict: UnitVerdict, manyFiles: boolean, hasFinding: boolean): HTMLElement {
  const { unit, safe, top, file } = verdict;
  const name = unit.kind === "module" ? "module level" : showHidden(unit.name);
  const where = `${manyFiles && file ? `${showHidden(file)}, ` : ""}line ${unit.range.start.line}`;
  const verdictText = hasFinding ? "finding" : safe < 0.5 ? "not sure" : "nothing found";
  const [best] = top;
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, name, " ", el("span", { class: "muted" }, where)),
    el("td", {}, verdictText),
    el("td", {}, percent(safe)),
    el("td", {}, best ? `${best.cwe}, ${percent(best.probability)}` : "none"),
  );
}

function key(file: string | undefined, line: number, name: string): string {
  return JSON.stringify([file ?? "", line, name]);
}
