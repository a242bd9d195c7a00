import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { python } from "@codemirror/lang-python";
import { bracketMatching, indentOnInput, indentUnit } from "@codemirror/language";
import { highlightSelectionMatches, search, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  keymap,
  lineNumbers,
  placeholder,
} from "@codemirror/view";
import type { Finding, Range } from "../../../crates/cloister-wasm/src/types.ts";
import { el } from "../dom.ts";
import type { SourceDocument } from "../state/documents.ts";
import type { Theme } from "../theme.ts";
import { type Editor, type EditorEvents, labelOf } from "./editor.ts";
import { hiddenMarks } from "./hidden-marks.ts";
import { look, setDark } from "./look.ts";
import { findingMarks, offsetIn, placeOf, showMarks } from "./marks.ts";

const label = new Compartment();

/** CodeMirror with Python, in a shadow root (see look.ts for why). */
export class CodeEditor implements Editor {
  readonly element = el("div", { class: "code-editor" });
  readonly #view: EditorView;
  readonly #states = new Map<number, EditorState>();
  readonly #stopTheme: () => void;
  #shown: SourceDocument | null = null;

  constructor(
    private readonly theme: Theme,
    private readonly events: EditorEvents,
  ) {
    const root = this.element.attachShadow({ mode: "open" });
    this.#view = new EditorView({ parent: root, root });
    this.#stopTheme = theme.changed.on((dark) => setDark(this.#view, dark));
  }

  show(document: SourceDocument): void {
    if (this.#shown?.id === document.id) return;
    if (this.#shown) this.#states.set(this.#shown.id, this.#view.state);
    this.#shown = document;
    this.#view.setState(this.#states.get(document.id) ?? this.#makeState(document));
    this.#view.dispatch({ effects: label.reconfigure(ariaLabel(document)) });
    setDark(this.#view, this.theme.dark);
  }

  retain(ids: ReadonlySet<number>): void {
    for (const id of this.#states.keys()) if (!ids.has(id)) this.#states.delete(id);
    if (this.#shown && !ids.has(this.#shown.id)) this.#shown = null;
  }

  mark(findings: readonly Finding[]): void {
    showMarks(this.#view, findings);
  }

  reveal(finding: Finding): void {
    this.#select(placeOf(this.#view.state, finding));
  }

  revealRange({ start, end }: Range): void {
    const { doc } = this.#view.state;
    this.#select({ from: offsetIn(doc, start), to: offsetIn(doc, end) });
  }

  focus(): void {
    this.#view.focus();
  }

  destroy(): void {
    this.#stopTheme();
    this.#view.destroy();
    this.element.remove();
  }

  #select({ from, to }: { from: number; to: number }): void {
    this.#view.dispatch({
      // The cursor stands at the beginning: going on from a finding of several lines starts at its first.
      selection: { anchor: Math.max(from, to), head: from },
      effects: EditorView.scrollIntoView(from, { y: "center" }),
    });
    this.#view.focus();
  }

  #makeState(document: SourceDocument): EditorState {
    const { id } = document;
    const lineBreak = document.text.includes("\r\n") ? "\r\n" : "\n";
    const line = () => this.#view.state.doc.lineAt(this.#view.state.selection.main.head).number;
    const step = (direction: 1 | -1) => () => {
      this.events.step(direction, line());
      return true;
    };
    const run = () => {
      this.events.run();
      return true;
    };
    const own = keymap.of([
      { key: "F8", run: step(1), shift: step(-1), preventDefault: true },
      { key: "Mod-Enter", run },
    ]);
    const input = EditorView.updateListener.of(({ docChanged, state }) => {
      if (docChanged) this.events.input(id, state.doc.toString().replaceAll("\n", lineBreak));
    });
    return EditorState.create({
      doc: document.text,
      extensions: [own, input, label.of(ariaLabel(document)), look(this.theme.dark), basics],
    });
  }
}

function ariaLabel(document: SourceDocument): Extension {
  return EditorView.contentAttributes.of({
    "aria-label": labelOf(document),
    // The hint below the editor cannot be named from inside a shadow root.
    "aria-description": "Press Escape, then Tab to leave the editor.",
    tabindex: "0",
  });
}

const basics: Extension = [
  lineNumbers(),
  findingMarks(),
  highlightActiveLine(),
  highlightActiveLineGutter(),
  hiddenMarks(),
  history(),
  drawSelection(),
  indentOnInput(),
  bracketMatching(),
  highlightSelectionMatches(),
  search({ top: true }),
  indentUnit.of("    "),
  EditorState.tabSize.of(8),
  python(),
  placeholder("Paste Python here, drop .py files anywhere, or choose a sample."),
  keymap.of([...defaultKeymap, ...searchKeymap, ...historyKeymap, indentWithTab]),
];
