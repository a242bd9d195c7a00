import type { Finding, Range } from "../../../crates/cloister-wasm/src/types.ts";
import { el } from "../dom.ts";
import type { SourceDocument } from "../state/documents.ts";
import { hasHidden, splitLines } from "../text/hidden.ts";
import { type Editor, type EditorEvents, labelOf } from "./editor.ts";

/** A plain text box with numbered lines, for those whose tools work best with one. */
export class PlainEditor implements Editor {
  readonly element = el("div", { class: "plain-editor" });
  readonly #gutter = el("pre", { class: "plain-gutter", "aria-hidden": "true" });
  readonly #text = el("textarea", {
    class: "plain-text",
    spellcheck: "false",
    autocapitalize: "off",
    autocomplete: "off",
    wrap: "off",
    dir: "ltr",
    "aria-describedby": "editor-hint",
    placeholder: "Paste Python here, drop .py files anywhere, or choose a sample.",
  });
  #shown: SourceDocument | null = null;
  #lineBreak = "\n";
  #marked = new Set<number>();

  constructor(private readonly events: EditorEvents) {
    this.element.append(this.#gutter, this.#text);
    this.#text.addEventListener("input", () => this.#input());
    this.#text.addEventListener("scroll", () => {
      this.#gutter.scrollTop = this.#text.scrollTop;
    });
    this.#text.addEventListener("keydown", (event) => this.#key(event));
  }

  show(document: SourceDocument): void {
    if (this.#shown?.id === document.id) return;
    this.#shown = document;
    this.#lineBreak = document.text.includes("\r\n") ? "\r\n" : "\n";
    this.#text.value = document.text;
    this.#text.setAttribute("aria-label", labelOf(document));
    this.#text.setSelectionRange(0, 0);
    this.#marked.clear();
    this.#number();
  }

  retain(ids: ReadonlySet<number>): void {
    if (this.#shown && !ids.has(this.#shown.id)) this.#shown = null;
  }

  mark(findings: readonly Finding[]): void {
    this.#marked = new Set(findings.flatMap((finding) => finding.lines));
    this.#number();
  }

  reveal(finding: Finding): void {
    this.revealRange(finding.range);
  }

  revealRange(range: Range): void {
    const lines = splitLines(this.#text.value);
    const start = this.#offset(lines, range.start.line, range.start.column);
    const end = this.#offset(lines, range.end.line, range.end.column);
    this.#text.focus();
    this.#text.setSelectionRange(start, Math.max(start, end));
    const lineHeight = this.#text.scrollHeight / Math.max(1, lines.length);
    this.#text.scrollTop = (range.start.line - 1) * lineHeight - this.#text.clientHeight / 2;
  }

  focus(): void {
    this.#text.focus();
  }

  destroy(): void {
    this.element.remove();
  }

  #input(): void {
    this.#number();
    // A text box hands line breaks back as \n, whatever was put in.
    if (this.#shown) this.events.input(this.#shown.id, this.#text.value.replaceAll("\n", this.#lineBreak));
  }

  /** Line numbers, with ● where a finding stands and ⚠ where something cannot be seen. */
  #number(): void {
    const lines = splitLines(this.#text.value);
    const width = String(lines.length).length;
    const numbers = lines.map((line, index) => {
      const sign = this.#marked.has(index + 1) ? "●" : hasHidden(line) ? "⚠" : " ";
      return `${sign} ${String(index + 1).padStart(width)}`;
    });
    this.#gutter.textContent = numbers.join("\n");
    this.#gutter.scrollTop = this.#text.scrollTop;
  }

  #key(event: KeyboardEvent): void {
    if (event.key === "F8") {
      const line = splitLines(this.#text.value.slice(0, this.#text.selectionStart)).length;
      this.events.step(event.shiftKey ? -1 : 1, line);
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      this.events.run();
    } else {
      return;
    }
    event.preventDefault();
  }

  #offset(lines: string[], line: number, column: number): number {
    const index = Math.min(Math.max(line, 1), lines.length) - 1;
    const before = lines.slice(0, index).reduce((sum, text) => sum + text.length + 1, 0);
    return before + Math.min(Math.max(column - 1, 0), lines[index]?.length ?? 0);
  }
}
