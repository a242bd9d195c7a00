// The code editor's look, from the page's own colours. CodeMirror writes its rules into a constructed style
// sheet of the shadow root, which the policy `style-src 'self'` allows; a <style> element would be refused.

import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { Compartment, type Extension } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const syntax = HighlightStyle.define([
  {
    tag: [tags.keyword, tags.operatorKeyword, tags.controlKeyword, tags.moduleKeyword],
    color: "var(--code-keyword)",
  },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--code-string)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--code-number)" },
  { tag: [tags.comment, tags.docComment], color: "var(--code-comment)", fontStyle: "italic" },
  { tag: tags.definition(tags.function(tags.variableName)), color: "var(--code-definition)" },
  { tag: [tags.className, tags.definition(tags.className)], color: "var(--code-definition)" },
  { tag: [tags.meta, tags.annotation], color: "var(--code-meta)" },
  { tag: tags.invalid, color: "var(--critical)" },
]);

const rules = EditorView.theme({
  "&": {
    height: "100%",
    fontSize: "var(--code-size)",
    backgroundColor: "var(--surface)",
    color: "var(--text)",
  },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55" },
  ".cm-content": { caretColor: "var(--text)", paddingBlock: "0.6rem" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-gutters": {
    backgroundColor: "var(--surface)",
    color: "var(--muted)",
    borderRight: "1px solid var(--line)",
  },
  ".cm-activeLine": { backgroundColor: "var(--active-line)" },
  ".cm-activeLineGutter": { backgroundColor: "var(--active-line)", color: "var(--text)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--selection)",
  },
  ".cm-placeholder": { color: "var(--muted)" },
  ".cm-panels": { backgroundColor: "var(--raised)", color: "var(--text)" },
  ".cm-tooltip": {
    backgroundColor: "var(--raised)",
    color: "var(--text)",
    border: "1px solid var(--line)",
    borderRadius: "6px",
    maxWidth: "min(34rem, 90vw)",
  },
  ".cm-diagnostic": { fontFamily: "var(--sans)", padding: "0.5rem 0.75rem" },
  ".finding-tooltip p": { margin: "0.35rem 0 0" },
  ".finding-line": {
    boxShadow: "inset 3px 0 0 var(--mark)",
    backgroundColor: "color-mix(in srgb, var(--mark) 12%, transparent)",
  },
  ".finding-low": { "--mark": "var(--low)" },
  ".finding-medium": { "--mark": "var(--medium)" },
  ".finding-high": { "--mark": "var(--high)" },
  ".finding-critical": { "--mark": "var(--critical)" },
  ".hidden-character": {
    color: "var(--on-alarm)",
    backgroundColor: "var(--alarm)",
    borderRadius: "3px",
    padding: "0 0.25em",
    fontSize: "0.8em",
  },
});

const darkness = new Compartment();

export function look(dark: boolean): Extension {
  return [rules, syntaxHighlighting(syntax), darkness.of(EditorView.darkTheme.of(dark))];
}

/** CodeMirror's own parts (search box, tooltips) come in a light and a dark form. */
export function setDark(view: EditorView, dark: boolean): void {
  view.dispatch({ effects: darkness.reconfigure(EditorView.darkTheme.of(dark)) });
}
