import type { ExportFormat } from "../../crates/cloister-wasm/src/types.ts";
import type { AnalysisSession } from "./analysis/session.ts";
import { messageOf } from "./dom.ts";
import type { EngineHost } from "./engine/host.ts";
import { saveExport } from "./files/save.ts";

/** The export buttons: on while there is a result and an engine to write it. */
export function wireExport(host: EngineHost, session: AnalysisSession, say: (message: string) => void): void {
  const buttons = [...document.querySelectorAll<HTMLButtonElement>("[data-export]")];
  const update = () => {
    const ready =
      host.state.phase === "ready" && session.state.phase === "idle" && session.state.result !== null;
    for (const button of buttons) button.disabled = !ready;
  };
  const save = async (format: ExportFormat) => {
    const { result } = session.state;
    if (!result) return;
    try {
      const text = await host.export(result.analysis, result.files, format);
      say(`Saved ${saveExport(text, format)} in your downloads.`);
    } catch (error) {
      say(`The export failed: ${messageOf(error)}`);
    }
  };
  for (const button of buttons) {
    button.addEventListener("click", () => void save(button.dataset.export as ExportFormat));
  }
  host.changed.on(update);
  session.changed.on(update);
  update();
}
