import type { ExportFormat } from "../../../crates/cloister-wasm/src/types.ts";

const FORMATS: Record<ExportFormat, { name: string; type: string }> = {
  sarif: { name: "cloister.sarif", type: "application/sarif+json" },
  json: { name: "cloister.json", type: "application/json" },
  markdown: { name: "cloister.md", type: "text/markdown" },
};

/** Hands text to the browser as a download; it goes from memory to the disk. */
export function saveExport(text: string, format: ExportFormat): string {
  const { name, type } = FORMATS[format];
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The download takes its own hold on the bytes; a minute is ample.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  return name;
}
