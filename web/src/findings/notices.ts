import type { Notice } from "../../../crates/cloister-wasm/src/types.ts";
import { el } from "../dom.ts";
import { showHidden } from "../text/hidden.ts";

const TITLES: Record<Notice["kind"], string> = {
  "syntax-error": "Syntax error",
  "not-python": "Not Python",
  empty: "Empty",
  truncated: "Too long",
  "control-characters": "Control characters",
  "bidi-characters": "Characters that change the reading direction",
  "lone-surrogate": "Broken characters",
};

const MOST_NOTICES = 20;

/** What the engine has to say of the text itself; `onJump` shows the place. */
export function noticeList(
  notices: readonly Notice[],
  manyFiles: boolean,
  onJump: (notice: Notice) => void,
): HTMLElement | null {
  if (notices.length === 0) return null;
  const items = notices.slice(0, MOST_NOTICES).map((notice) => {
    const where = manyFiles ? `${showHidden(notice.file)}: ` : "";
    const { range } = notice;
    const jump =
      range &&
      el(
        "button",
        { type: "button", class: "link", onclick: () => onJump(notice) },
        `Show line ${range.start.line}`,
      );
    const title = el("strong", {}, `${TITLES[notice.kind] ?? "Note"}. `);
    return el("li", { "data-kind": notice.kind }, title, `${where}${showHidden(notice.message)} `, jump);
  });
  const left = notices.length - items.length;
  if (left > 0) items.push(el("li", {}, `And ${left} more of the kind.`));
  return el("ul", { class: "notices", "aria-label": "Notes on the text" }, ...items);
}
