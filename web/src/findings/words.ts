// The model's own words about a finding's unit: asked for by the user, streamed, and marked as what they are.

import type { Finding, Generated } from "../../../crates/cloister-wasm/src/types.ts";
import { el, messageOf } from "../dom.ts";
import { showHidden } from "../text/hidden.ts";

/** Lets the model speak about the unit of a finding; `stop` ends it with what was said by then. */
export interface Ask {
  start(finding: Finding, onWords: (piece: string) => void): Promise<Generated>;
  stop(): void;
}

const NOTE = "Said freely by the model. Nothing checks these words, and they are not a finding.";

export function wordsBox(finding: Finding, ask: Ask): HTMLElement {
  const words = el("blockquote", { class: "words", hidden: true });
  const note = el("p", { class: "muted", role: "status" });
  const button = el("button", { type: "button" }, "Ask the model");
  button.setAttribute("aria-label", `Ask the model about ${showHidden(finding.unit.name)}`);
  let speaking = false;
  const speak = async () => {
    speaking = true;
    button.textContent = "Stop";
    words.hidden = false;
    words.textContent = "";
    note.textContent = NOTE;
    try {
      const said = await ask.start(finding, (piece) => words.append(showHidden(piece)));
      note.textContent = `${NOTE} ${ending(said)}`;
    } catch (error) {
      note.textContent = messageOf(error);
    } finally {
      speaking = false;
      button.textContent = "Ask again";
    }
  };
  button.addEventListener("click", () => (speaking ? ask.stop() : void speak()));
  return el("div", { class: "own-words" }, el("h4", {}, "In the model’s own words"), button, words, note);
}

function ending({ end, text }: Generated): string {
  if (end === "cancelled") return "It was stopped there.";
  if (end === "length") return "It was cut off there.";
  return text.trim() === "" ? "It said nothing." : "";
}
