// Characters that a reader cannot see but that change what is read: bidirectional controls, zero-width
// characters, other controls, tag characters, lone surrogates. They are shown, never obeyed.

/**
 * Beyond what CodeMirror marks by itself. CodeMirror joins it to its own expression. U+FE0F only chooses the
 * coloured form of an emoji.
 */
export const EXTRA_HIDDEN = /(?!\ufe0f)\p{Default_Ignorable_Code_Point}|\p{Surrogate}|\u2800/u;

const HIDDEN = new RegExp(
  `(?![\\t\\n\\r])\\p{Control}|[\\u2028\\u2029\\ufff9-\\ufffc]|${EXTRA_HIDDEN.source}`,
  "u",
);
const HIDDEN_EVERYWHERE = new RegExp(HIDDEN.source, "gu");

const NAMES: Record<number, string> = {
  0: "NUL",
  8: "BS",
  12: "FF",
  27: "ESC",
  127: "DEL",
  173: "soft hyphen",
  8203: "zero-width space",
  8204: "zero-width non-joiner",
  8205: "zero-width joiner",
  8206: "left-to-right mark",
  8207: "right-to-left mark",
  8234: "left-to-right embedding",
  8235: "right-to-left embedding",
  8236: "end of embedding",
  8237: "left-to-right override",
  8238: "right-to-left override",
  8288: "word joiner",
  8294: "left-to-right isolate",
  8295: "right-to-left isolate",
  8296: "first-strong isolate",
  8297: "end of isolate",
  65279: "byte-order mark",
};

/** Such as `U+202E`. */
export function codePointName(code: number): string {
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** Such as `U+202E, right-to-left override`. */
export function describe(code: number): string {
  const name = NAMES[code];
  return name ? `${codePointName(code)}, ${name}` : `${codePointName(code)}, hidden character`;
}

export function hasHidden(text: string): boolean {
  return HIDDEN.test(text);
}

/** `text` with each hidden character written out, for names and messages that come from the source. */
export function showHidden(text: string): string {
  return text.replace(HIDDEN_EVERYWHERE, (found) => `⟦${codePointName(found.codePointAt(0) ?? 0)}⟧`);
}

/** Splits as Python and CodeMirror do. */
export function splitLines(text: string): string[] {
  return text.split(/\r\n?|\n/);
}
