// Reads files that the user picked or dropped. The browser hands over their bytes: nothing is sent anywhere.

import { count } from "../dom.ts";
import type { Documents } from "../state/documents.ts";
import { showHidden } from "../text/hidden.ts";
import { decodePython } from "./decode.ts";

const MOST_FILES = 200;
const MOST_BYTES = 4_000_000;
const PYTHON_NAME = /\.(py|pyi|pyw)$/i;

export interface PickedFile {
  file: File;
  /** Path inside a dropped folder, or the plain name. */
  name: string;
}

/** Opens each Python file as a tab, and tells in one message what was left out and why. */
export async function openFiles(
  picked: readonly PickedFile[],
  documents: Documents,
  say: (message: string) => void,
): Promise<void> {
  const remarks: string[] = [];
  const python = picked.filter(({ name }) => PYTHON_NAME.test(name));
  const others = picked.length - python.length;
  const opened: { name: string; text: string }[] = [];
  for (const { file, name } of python.slice(0, MOST_FILES)) {
    const shown = showHidden(name);
    if (file.size > MOST_BYTES) {
      remarks.push(`${shown} is larger than ${MOST_BYTES / 1e6} MB: use the command line for it.`);
      continue;
    }
    try {
      const { text, remark } = decodePython(new Uint8Array(await file.arrayBuffer()));
      if (remark) remarks.push(`${shown} ${remark}.`);
      opened.push({ name, text });
    } catch {
      remarks.push(`${shown} could not be read: check that it still exists and that you may read it.`);
    }
  }
  if (python.length > MOST_FILES) {
    remarks.push(
      `Only the first ${MOST_FILES} of ${python.length} files were opened: use the command line for more.`,
    );
  }
  if (others > 0) remarks.push(`${count(others, "file")} without a Python name (.py, .pyi, .pyw) left out.`);
  documents.add(opened);
  say([`Opened ${count(opened.length, "file")}.`, ...remarks].join(" "));
}
