import type { Finding, Notice } from "../../../crates/cloister-wasm/src/types.ts";
import type { AnalysisSession, Result, SessionState } from "../analysis/session.ts";
import { byId, count, el, fill } from "../dom.ts";
import { showHidden } from "../text/hidden.ts";
import { findingItem, type ItemActions } from "./item.ts";
import { noticeList } from "./notices.ts";
import { unitsBox } from "./units.ts";
import type { Ask } from "./words.ts";

const MOST_FINDINGS = 500;

export interface FindingsActions {
  jump(finding: Finding): void;
  showNotice(notice: Notice): void;
  /** What lets the model speak about a finding of this result; null where it does not answer in words. */
  speaker(result: Result): Ask | null;
}

/** The right-hand pane: progress, notes, findings, units. */
export class FindingsView {
  readonly #summary = byId("summary", HTMLElement);
  readonly #body = byId("findings", HTMLElement);
  readonly #welcome = byId("welcome", HTMLElement);
  readonly #progress = byId("progress", HTMLProgressElement);
  readonly #error = byId("analysis-error", HTMLElement);
  readonly #open = new Set<string>();
  #shown: Result | null | undefined;
  /** Results shown so far; the browser tests wait for the next one by it. */
  #results = 0;

  constructor(
    session: AnalysisSession,
    private readonly actions: FindingsActions,
  ) {
    session.changed.on((state) => this.#render(state));
    this.#body.addEventListener("keydown", (event) => this.#moveFocus(event));
    this.#render(session.state);
  }

  #render(state: SessionState): void {
    this.#renderProgress(state);
    const error = state.phase === "idle" ? state.error : null;
    this.#error.hidden = error === null;
    this.#error.textContent = error ?? "";
    if (state.result === this.#shown) return;
    this.#shown = state.result;
    this.#welcome.hidden = state.result !== null;
    if (state.result) this.#renderResult(state.result);
    else {
      this.#open.clear();
      this.#summary.textContent = "";
      fill(this.#body);
    }
  }

  #renderProgress(state: SessionState): void {
    const running = state.phase === "running";
    this.#progress.hidden = !running;
    this.#body.setAttribute("aria-busy", String(running));
    this.#summary.dataset.phase = state.phase;
    if (!running) return;
    const { progress } = state;
    if (progress && progress.total > 0) {
      this.#progress.max = progress.total;
      this.#progress.value = progress.done;
      this.#progress.title = `${progress.done} of ${progress.total}: ${showHidden(progress.label)}`;
    } else {
      this.#progress.removeAttribute("value");
    }
  }

  #renderResult(result: Result): void {
    const { analysis, files } = result;
    const manyFiles = files.length > 1;
    this.#summary.textContent = summary(result);
    this.#results += 1;
    this.#summary.dataset.result = String(this.#results);
    this.#summary.dataset.unitsRun = String(analysis.unitsRun);
    this.#summary.dataset.unitsCached = String(analysis.unitsCached);
    this.#summary.dataset.findings = String(analysis.findings.length);
    const focused = document.activeElement?.closest<HTMLElement>("[data-id]")?.dataset.id;
    fill(
      this.#body,
      noticeList(analysis.notices, manyFiles, (notice) => this.actions.showNotice(notice)),
      analysis.findings.length === 0 && nothingFound(analysis.notices.length > 0, analysis.units.length),
      ...this.#groups(result, manyFiles),
      analysis.units.length > 0 && unitsBox(analysis, manyFiles),
    );
    if (focused !== undefined) this.#headOf(focused)?.focus();
  }

  #groups(result: Result, manyFiles: boolean): HTMLElement[] {
    const { analysis, files } = result;
    const order = new Map(files.map(({ name }, index) => [name, index]));
    const sorted = sortFindings(analysis.findings, order);
    const parts: HTMLElement[] = [];
    let list: HTMLOListElement | null = null;
    let file: string | null = null;
    const itemActions: ItemActions = {
      jump: (finding) => this.actions.jump(finding),
      isOpen: (id) => this.#open.has(id),
      setOpen: (id, open) => (open ? this.#open.add(id) : this.#open.delete(id)),
      ask: this.actions.speaker(result),
    };
    for (const [number, finding] of sorted.slice(0, MOST_FINDINGS).entries()) {
      if (list === null || (manyFiles && finding.file !== file)) {
        file = finding.file;
        if (manyFiles) parts.push(el("p", { class: "file-name" }, showHidden(file)));
        list = el("ol", {
          class: "finding-list",
          "aria-label": manyFiles ? `Findings in ${showHidden(file)}` : "Findings",
        });
        parts.push(list);
      }
      list.append(findingItem(finding, number, itemActions));
    }
    const left = sorted.length - MOST_FINDINGS;
    if (left > 0) {
      parts.push(
        el("p", {}, `${count(left, "more finding")}: lower the sensitivity or save an export to see all.`),
      );
    }
    return parts;
  }

  /** Arrow keys go through the findings; Tab goes through everything. */
  #moveFocus(event: KeyboardEvent): void {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step === 0 || !(event.target instanceof Element) || !event.target.matches(".finding-head")) return;
    const heads = [...this.#body.querySelectorAll<HTMLElement>(".finding-head")];
    heads[heads.indexOf(event.target as HTMLElement) + step]?.focus();
    event.preventDefault();
  }

  #headOf(id: string): HTMLElement | undefined {
    const items = [...this.#body.querySelectorAll<HTMLElement>("[data-id]")];
    return (
      items.find((item) => item.dataset.id === id)?.querySelector<HTMLElement>(".finding-head") ?? undefined
    );
  }
}

/** In the order of the tabs, then of the lines, then the surest first. */
export function sortFindings(findings: readonly Finding[], order: ReadonlyMap<string, number>): Finding[] {
  return [...findings].sort(
    (a, b) =>
      (order.get(a.file) ?? 0) - (order.get(b.file) ?? 0) ||
      a.range.start.line - b.range.start.line ||
      b.confidence - a.confidence,
  );
}

/** "2 findings in 5 units · 1 unit run, 4 unchanged · 0.4 s". */
export function summary({ analysis, files }: Result): string {
  const { findings, units, unitsRun, unitsCached, millis, cancelled } = analysis;
  const parts = [
    `${count(findings.length, "finding")} in ${count(units.length, "unit")}${files.length > 1 ? ` of ${files.length} files` : ""}`,
    `${count(unitsRun, "unit")} run${unitsCached > 0 ? `, ${unitsCached} unchanged` : ""}`,
    `${(millis / 1000).toFixed(1)} s`,
  ];
  if (cancelled) parts.unshift("Cancelled before the end");
  return parts.join(" · ");
}

function nothingFound(hasNotices: boolean, units: number): HTMLElement | false {
  if (units === 0 && hasNotices) return false;
  return el(
    "p",
    { class: "nothing" },
    "Nothing above the current sensitivity. That is not proof that the code is safe: the model card says what the model cannot see.",
  );
}
