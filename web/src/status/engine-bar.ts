import type { Info } from "../../../crates/cloister-wasm/src/types.ts";
import type { AnalysisSession } from "../analysis/session.ts";
import { byId } from "../dom.ts";
import type { EngineHost, HostState } from "../engine/host.ts";
import { showHidden } from "../text/hidden.ts";
import type { Announcer } from "./announcer.ts";

/** Where the model runs and how fast, how far its start is, and why it runs there. */
export class EngineBar {
  readonly #bar = byId("engine", HTMLElement);
  readonly #text = byId("engine-text", HTMLElement);
  readonly #note = byId("engine-note", HTMLElement);
  readonly #progress = byId("engine-progress", HTMLProgressElement);
  readonly #again = byId("engine-again", HTMLButtonElement);
  #tokensPerSecond: number | null = null;

  constructor(
    private readonly host: EngineHost,
    session: AnalysisSession,
    private readonly announcer: Announcer,
    startAgain: () => void,
  ) {
    this.#again.addEventListener("click", startAgain);
    host.changed.on((state) => this.#render(state));
    session.finished.on(({ analysis: { tokens, millis } }) => {
      if (tokens === 0 || millis <= 0) return;
      this.#tokensPerSecond = (tokens / millis) * 1000;
      this.#render(this.host.state);
    });
    this.#render(host.state);
  }

  #render(state: HostState): void {
    this.#bar.dataset.phase = state.phase;
    this.#again.hidden = state.phase !== "failed";
    this.#progress.hidden = state.phase !== "starting";
    const note = state.phase === "failed" ? state.message : state.note;
    this.#note.hidden = note === null;
    this.#note.textContent = note ?? "";
    switch (state.phase) {
      case "starting":
        this.#text.textContent = state.step;
        if (state.share === null) this.#progress.removeAttribute("value");
        else this.#progress.value = state.share;
        this.#tokensPerSecond = null;
        delete this.#bar.dataset.backend;
        return;
      case "ready":
        this.#text.textContent = `${describeDevice(state.info, this.#tokensPerSecond)} · ${showHidden(state.info.card.name)}`;
        this.#bar.dataset.backend = state.info.backend;
        this.announcer.say(
          `Ready. The model runs on the ${state.info.backend === "webgpu" ? "GPU" : "processor"}.`,
        );
        return;
      case "failed":
        this.#text.textContent = "The engine does not run";
        delete this.#bar.dataset.backend;
        this.announcer.say(state.message);
    }
  }
}

/** "GPU · NVIDIA Ampere · f32 · 830 tokens/s". */
export function describeDevice(info: Info, measured: number | null): string {
  const rate = measured ?? info.tokensPerSecond;
  const parts = [info.backend === "webgpu" ? "GPU" : "Processor", info.adapter, info.precision];
  if (rate !== null) parts.push(`${Math.round(rate).toLocaleString("en")} tokens/s`);
  return parts.filter(Boolean).join(" · ");
}
