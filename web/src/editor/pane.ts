// The editor in use and what it shows: follows the open documents, the chosen kind of editor and the results.

import type { Finding, Range } from "../../../crates/cloister-wasm/src/types.ts";
import type { AnalysisSession } from "../analysis/session.ts";
import { byId, fill } from "../dom.ts";
import { sortFindings } from "../findings/view.ts";
import type { Documents } from "../state/documents.ts";
import type { Settings } from "../state/settings.ts";
import type { Theme } from "../theme.ts";
import { CodeEditor } from "./code-editor.ts";
import type { Editor, EditorEvents } from "./editor.ts";
import { PlainEditor } from "./plain-editor.ts";

export class EditorPane {
  readonly #place = byId("editor", HTMLElement);
  #editor: Editor;

  constructor(
    private readonly documents: Documents,
    private readonly settings: Settings,
    private readonly theme: Theme,
    private readonly session: AnalysisSession,
    /** Tells where the user was taken, for screen readers. */
    private readonly say: (message: string) => void,
  ) {
    this.#editor = this.#make();
    documents.changed.on(({ kind }) => kind !== "text" && this.#follow());
    settings.changed.on((key) => key === "editor" && this.#replace());
    session.finished.on(() => this.#mark());
    session.changed.on(({ result }) => result === null && this.#editor.mark([]));
  }

  focus(): void {
    this.#editor.focus();
  }

  /** Shows the file of a finding, selects the place and moves the focus there. */
  reveal(finding: Finding): void {
    const document = this.documents.byName(finding.file);
    if (!document) return;
    this.documents.activate(document.id);
    this.#editor.reveal(finding);
    this.say(`${finding.cwe} ${finding.name}, line ${finding.range.start.line}`);
  }

  /** The same for a place that belongs to no finding. */
  revealRange(file: string, range: Range): void {
    const document = this.documents.byName(file);
    if (!document) return;
    this.documents.activate(document.id);
    this.#editor.revealRange(range);
  }

  #make(): Editor {
    const events: EditorEvents = {
      input: (id, text) => this.documents.setText(id, text),
      step: (direction, line) => this.#step(direction, line),
      run: () => this.session.request(0),
    };
    const plain = this.settings.get("editor") === "plain";
    const editor = plain ? new PlainEditor(events) : new CodeEditor(this.theme, events);
    fill(this.#place, editor.element);
    editor.show(this.documents.active);
    return editor;
  }

  #replace(): void {
    this.#editor.destroy();
    this.#editor = this.#make();
    this.#mark();
  }

  #follow(): void {
    this.#editor.retain(new Set(this.documents.list.map(({ id }) => id)));
    this.#editor.show(this.documents.active);
    this.#mark();
  }

  /** Marks belong to the very text that was analysed; after an edit the next analysis is on its way. */
  #mark(): void {
    const { result } = this.session.state;
    const { name, text } = this.documents.active;
    const analysed = result?.files.find((file) => file.name === name);
    if (!result || analysed?.text !== text) return;
    this.#editor.mark(result.analysis.findings.filter(({ file }) => file === name));
  }

  /** From a line of the shown file to the nearest finding after or before it, round the end of the list. */
  #step(direction: 1 | -1, line: number): void {
    const { result } = this.session.state;
    if (!result || result.analysis.findings.length === 0) {
      this.say("No findings to go to.");
      return;
    }
    const order = new Map(this.documents.list.map(({ name }, index) => [name, index]));
    const sorted = sortFindings(result.analysis.findings, order);
    const here = order.get(this.documents.active.name) ?? 0;
    const side = ({ file, range }: Finding) => (order.get(file) ?? 0) - here || range.start.line - line;
    const next =
      direction === 1
        ? (sorted.find((finding) => side(finding) > 0) ?? sorted[0])
        : (sorted.findLast((finding) => side(finding) < 0) ?? sorted.at(-1));
    if (next) this.reveal(next);
  }
}
