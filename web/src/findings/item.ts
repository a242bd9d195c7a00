import type { Finding } from "../../../crates/cloister-wasm/src/types.ts";
import { el } from "../dom.ts";
import { showHidden } from "../text/hidden.ts";
import { percent } from "../text/percent.ts";
import { type Ask, wordsBox } from "./words.ts";

export interface ItemActions {
  jump(finding: Finding): void;
  /** Whether the explanation is open, kept over renders. */
  isOpen(id: string): boolean;
  setOpen(id: string, open: boolean): void;
  /** What lets the model speak about a finding's unit; null where it does not answer in words. */
  ask: Ask | null;
}

/** One finding: a button that jumps to its line, and its explanation. */
export function findingItem(finding: Finding, number: number, actions: ItemActions): HTMLLIElement {
  const detailId = `finding-${number}`;
  const detail = explanation(finding, detailId, actions.ask);
  const toggle = el("button", { type: "button", class: "explain", "aria-controls": detailId }, "Explain");
  const setOpen = (open: boolean) => {
    actions.setOpen(finding.id, open);
    detail.hidden = !open;
    toggle.setAttribute("aria-expanded", String(open));
  };
  toggle.setAttribute("aria-label", `Explain ${finding.cwe} on ${linesText(finding.lines)}`);
  toggle.addEventListener("click", () => setOpen(detail.hidden !== false));
  setOpen(actions.isOpen(finding.id));

  const jump = () => {
    setOpen(true);
    actions.jump(finding);
  };
  const head = el(
    "button",
    { type: "button", class: "finding-head", onclick: jump },
    el("span", { class: `badge badge-${finding.severity}` }, finding.severity),
    el("span", { class: "finding-title" }, el("b", {}, finding.cwe), ` ${finding.name}`),
    el("span", { class: "finding-place" }, place(finding)),
    confidence(finding.confidence),
  );
  const row = el("div", { class: "finding-row" }, el("h3", {}, head), toggle);
  return el("li", { class: `finding finding-${finding.severity}`, "data-id": finding.id }, row, detail);
}

function confidence(value: number): HTMLElement {
  const bar = el("span", { class: "bar", "aria-hidden": "true" }, el("span", { class: "bar-fill" }));
  const fillBar = bar.firstElementChild as HTMLElement;
  fillBar.style.inlineSize = `${Math.round(value * 100)}%`;
  return el("span", { class: "finding-confidence" }, bar, `${percent(value)} confident`);
}

function place(finding: Finding): string {
  const { kind, name } = finding.unit;
  return `${linesText(finding.lines)}, ${kind === "module" ? "module level" : showHidden(name)}`;
}

function explanation(finding: Finding, id: string, ask: Ask | null): HTMLElement {
  const links = finding.links.filter((link) => link.startsWith("https://"));
  return el(
    "div",
    { id, class: "finding-detail" },
    el("h4", {}, "What is wrong"),
    el("p", {}, finding.problem),
    el("h4", {}, "What to do"),
    el("p", {}, finding.remedy),
    links.length > 0 &&
      el(
        "p",
        { class: "links" },
        "Read more: ",
        ...links.flatMap((link, i) => [i > 0 && ", ", anchor(link)]),
      ),
    ask && wordsBox(finding, ask),
  );
}

/** Opened without a referrer: the site learns that it was visited, and not from where. */
function anchor(link: string): HTMLAnchorElement {
  const { hostname, pathname } = new URL(link);
  const text = `${hostname}${pathname.replace(/\/$/, "")}`;
  return el("a", { href: link, target: "_blank", rel: "noopener noreferrer" }, text);
}

/** "line 3", "lines 3–5", "lines 3, 7–9". */
export function linesText(lines: readonly number[]): string {
  const blocks: [number, number][] = [];
  for (const line of [...lines].sort((a, b) => a - b)) {
    const last = blocks.at(-1);
    if (last && line <= last[1] + 1) last[1] = Math.max(last[1], line);
    else blocks.push([line, line]);
  }
  const text = blocks.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(", ");
  return `${lines.length === 1 ? "line" : "lines"} ${text}`;
}
