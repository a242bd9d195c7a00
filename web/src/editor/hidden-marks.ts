import type { Extension } from "@codemirror/state";
import { highlightSpecialChars } from "@codemirror/view";
import { el } from "../dom.ts";
import { codePointName, describe, EXTRA_HIDDEN } from "../text/hidden.ts";

/** Writes hidden characters out in the code, so that none can turn the line around or vanish. */
export function hiddenMarks(): Extension {
  return highlightSpecialChars({
    addSpecialChars: EXTRA_HIDDEN,
    render(code) {
      const text = describe(code);
      return el(
        "span",
        { class: "hidden-character", title: text, "aria-label": text, role: "img" },
        codePointName(code),
      );
    },
  });
}
