// Bytes of a Python file to text, as Python itself reads them: a byte-order mark, else the encoding named in
// the first two lines (PEP 263), else UTF-8.

export interface Decoded {
  text: string;
  /** What the user is to know about how it was read, or null. */
  remark: string | null;
}

const CODING = /^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)/;

export function decodePython(bytes: Uint8Array): Decoded {
  const declared = declaredEncoding(bytes);
  try {
    const text = new TextDecoder(declared ?? "utf-8", { fatal: true }).decode(bytes);
    return { text, remark: null };
  } catch {
    const text = new TextDecoder("windows-1252").decode(bytes);
    return {
      text,
      remark: `is not valid ${declared ?? "UTF-8"}, so it was read as Windows-1252: check its letters`,
    };
  }
}

function declaredEncoding(bytes: Uint8Array): string | null {
  // The declaration is ASCII, and each of these bytes stands for itself.
  const head = String.fromCharCode(...bytes.subarray(0, 400));
  for (const line of head.split(/\r\n?|\n/).slice(0, 2)) {
    const name = CODING.exec(line)?.[1];
    if (name === undefined) continue;
    const label = name.toLowerCase().replaceAll("_", "-");
    try {
      return new TextDecoder(label).encoding;
    } catch {
      return null;
    }
  }
  return null;
}
