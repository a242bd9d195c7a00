// Runs the analysis behind the typing: waits for a pause, gives way to newer text, can be cancelled.

import type { Analysis, Progress, SourceFile } from "../../../crates/cloister-wasm/src/types.ts";
import { messageOf } from "../dom.ts";
import type { EngineHost } from "../engine/host.ts";
import type { Documents } from "../state/documents.ts";
import { Emitter } from "../state/emitter.ts";
import type { Settings } from "../state/settings.ts";

const PAUSE_MS = 400;
/** A worker that has not stopped for the user by then is replaced. For newer text it may take its time. */
const CANCEL_PATIENCE_MS = 8000;

/** An analysis with the very texts it was made of: exports and line marks need both. */
export interface Result {
  analysis: Analysis;
  files: SourceFile[];
}

export type SessionState =
  | { phase: "idle"; result: Result | null; error: string | null }
  | { phase: "running"; result: Result | null; progress: Progress | null; cancelling: boolean };

type CancelReason = "user" | "newer-text";

export class AnalysisSession {
  readonly changed = new Emitter<SessionState>();
  /** Only for a result that is new. */
  readonly finished = new Emitter<Result>();
  #state: SessionState = { phase: "idle", result: null, error: null };
  /** True when texts or options changed since the last run began. */
  #dirty = false;
  #pause: ReturnType<typeof setTimeout> | undefined;
  #patience: ReturnType<typeof setTimeout> | undefined;
  #cancelled: CancelReason | null = null;

  constructor(
    private readonly host: EngineHost,
    private readonly documents: Documents,
    private readonly settings: Settings,
  ) {
    documents.changed.on((event) => event.kind !== "active" && this.request());
    settings.changed.on((key) => (key === "threshold" || key === "cwes") && this.request());
    host.changed.on(({ phase }) => {
      if (phase === "ready" && this.#dirty) this.request(0);
    });
  }

  get state(): SessionState {
    return this.#state;
  }

  /** Analyses after `delay` milliseconds without another request. */
  request(delay = PAUSE_MS): void {
    this.#dirty = true;
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => void this.#runOrCancel(), delay);
  }

  /** Ends the running analysis; what was found by then is shown. */
  cancel(): void {
    clearTimeout(this.#pause);
    this.#dirty = false;
    this.#stop("user");
  }

  /** Forgets the last result, as when everything is cleared. */
  reset(): void {
    this.#set({ phase: "idle", result: null, error: null });
  }

  async #runOrCancel(): Promise<void> {
    if (this.#state.phase === "running") this.#stop("newer-text");
    else if (this.host.state.phase === "ready") await this.#run();
  }

  #stop(reason: CancelReason): void {
    if (this.#state.phase !== "running" || this.#cancelled === "user") return;
    const asked = this.#cancelled !== null;
    this.#cancelled = reason;
    this.#set({ ...this.#state, cancelling: reason === "user" });
    if (!asked) {
      this.host.cancel().catch(() => {
        // The worker died meanwhile: the run itself reports that.
      });
    }
    if (reason === "newer-text") return;
    this.#patience = setTimeout(() => {
      void this.host.replace("The analysis did not stop when asked, so the engine was started again.");
    }, CANCEL_PATIENCE_MS);
  }

  async #run(): Promise<void> {
    this.#dirty = false;
    this.#cancelled = null;
    const before = this.#state.result;
    const files = this.documents.list.map(({ name, text }) => ({ name, text }));
    if (files.every(({ text }) => text === "")) {
      this.#set({ phase: "idle", result: null, error: null });
      return;
    }
    this.#set({ phase: "running", result: before, progress: null, cancelling: false });
    const options = { threshold: this.settings.get("threshold"), cwes: this.settings.get("cwes") };
    try {
      const analysis = await this.host.analyze(files, options, (progress) => {
        if (this.#state.phase === "running") this.#set({ ...this.#state, progress });
      });
      this.#settle(analysis, files, before);
    } catch (error) {
      // A worker that died takes the run with it; the host starts another, and that one runs it again.
      const lost = this.host.state.phase !== "ready";
      if (lost && this.#cancelled !== "user") this.#dirty = true;
      this.#set({ phase: "idle", result: before, error: lost ? null : messageOf(error) });
    } finally {
      clearTimeout(this.#patience);
    }
    if (this.#dirty) this.request(0);
  }

  #settle(analysis: Analysis, files: SourceFile[], before: Result | null): void {
    // Overtaken by newer text: the next run is due, and these positions are of the old text.
    if (this.#cancelled === "newer-text" && analysis.cancelled) {
      this.#set({ phase: "idle", result: before, error: null });
      return;
    }
    const result = { analysis, files };
    this.#set({ phase: "idle", result, error: null });
    this.finished.emit(result);
  }

  #set(state: SessionState): void {
    this.#state = state;
    this.changed.emit(state);
  }
}
