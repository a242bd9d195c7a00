import type { Finding, Range } from "../../../crates/cloister-wasm/src/types.ts";
import type { SourceDocument } from "../state/documents.ts";

/** What the page asks of an editor: the code editor and the plain text box both offer it. */
export interface Editor {
  readonly element: HTMLElement;
  /** Shows a document; each keeps its own history and place. */
  show(document: SourceDocument): void;
  /** Drops what is kept of documents that are not in `ids`. */
  retain(ids: ReadonlySet<number>): void;
  /** Replaces the marks of the shown document. */
  mark(findings: readonly Finding[]): void;
  /** Selects the place of a finding, scrolls there and takes the focus. */
  reveal(finding: Finding): void;
  /** The same for a place that belongs to no finding. */
  revealRange(range: Range): void;
  focus(): void;
  destroy(): void;
}

export interface EditorEvents {
  /** The user changed the text. Line breaks are those the document came with. */
  input(id: number, text: string): void;
  /** The user asked for the next (1) or previous (-1) finding from a 1-based line. */
  step(direction: 1 | -1, line: number): void;
  /** The user asked for an analysis now. */
  run(): void;
}

/** The accessible name of the editable text. */
export function labelOf(document: SourceDocument): string {
  return `Python source of ${document.name}`;
}
