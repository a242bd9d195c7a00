// Findings as marks in the code: a tint on each line, an underline and a gutter sign where it starts.

import { type Diagnostic, lintGutter, setDiagnostics } from "@codemirror/lint";
import {
  type EditorState,
  type Extension,
  type Range,
  StateEffect,
  StateField,
  type Text,
} from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView } from "@codemirror/view";
import type { Finding, Position, Severity } from "../../../crates/cloister-wasm/src/types.ts";
import { el } from "../dom.ts";
import { percent } from "../text/percent.ts";

const setMarks = StateEffect.define<DecorationSet>();

const markField = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(marks, transaction) {
    for (const effect of transaction.effects) if (effect.is(setMarks)) return effect.value;
    // Between two analyses the marks move with the text.
    return marks.map(transaction.changes);
  },
  provide: (field) => EditorView.decorations.from(field),
});

export function findingMarks(): Extension {
  return [markField, lintGutter()];
}

/** Shows `findings` in place of the earlier ones. */
export function showMarks(view: EditorView, findings: readonly Finding[]): void {
  const { doc } = view.state;
  const lines: Range<Decoration>[] = [];
  for (const finding of findings) {
    for (const line of finding.lines) {
      if (line < 1 || line > doc.lines) continue;
      const mark = Decoration.line({
        class: `finding-line finding-${finding.severity}`,
        finding: finding.id,
      });
      lines.push(mark.range(doc.line(line).from));
    }
  }
  view.dispatch({ effects: setMarks.of(Decoration.set(lines, true)) });
  view.dispatch(
    setDiagnostics(
      view.state,
      findings.map((finding) => diagnostic(doc, finding)),
    ),
  );
}

/** Where a finding stands now: the place of its first mark, or its own range when it has none. */
export function placeOf(state: EditorState, finding: Finding): { from: number; to: number } {
  let first: number | null = null;
  state.field(markField).between(0, state.doc.length, (from, _to, mark) => {
    if (first === null && mark.spec.finding === finding.id) first = from;
  });
  const from = offsetIn(state.doc, finding.range.start);
  const line = state.doc.lineAt(from);
  if (first !== null && line.from !== first) {
    const moved = state.doc.lineAt(first);
    return { from: moved.from, to: moved.to };
  }
  return { from, to: Math.max(from, offsetIn(state.doc, finding.range.end)) };
}

function diagnostic(doc: Text, finding: Finding): Diagnostic {
  const from = offsetIn(doc, finding.range.start);
  return {
    from,
    to: Math.max(from, offsetIn(doc, finding.range.end)),
    severity: lintSeverity(finding.severity),
    message: `${finding.cwe} ${finding.name}, confidence ${percent(finding.confidence)}`,
    renderMessage: () => tooltip(finding),
  };
}

function tooltip(finding: Finding): HTMLElement {
  const title = el("strong", {}, `${finding.cwe} ${finding.name}`);
  const detail = ` · ${finding.severity} · ${percent(finding.confidence)}`;
  return el("div", { class: "finding-tooltip" }, title, detail, el("p", {}, finding.problem));
}

function lintSeverity(severity: Severity): Diagnostic["severity"] {
  if (severity === "critical" || severity === "high") return "error";
  return severity === "medium" ? "warning" : "info";
}

/** By line and column: the code editor counts every line break as one, whatever the file has. */
export function offsetIn(doc: Text, position: Position): number {
  const line = doc.line(Math.min(Math.max(position.line, 1), doc.lines));
  return Math.min(line.from + Math.max(position.column - 1, 0), line.to);
}
