// Decides where the engine runs and keeps it running: GPU first unless there is a reason against it, one
// restart per device after a fault, then the processor, then a clear end.

import type {
  Analysis,
  AnalyzeOptions,
  Backend,
  ExportFormat,
  Generated,
  GenerateOptions,
  Info,
  PackageSummary,
  Progress,
  SourceFile,
} from "../../../crates/cloister-wasm/src/types.ts";
import { Emitter } from "../state/emitter.ts";
import type { DeviceChoice } from "../state/settings.ts";
import type { AssetSource } from "./assets.ts";
import { EngineClient } from "./client.ts";
import { EngineFault } from "./fault.ts";
import { type Adapter, PACKAGE_KINDS } from "./protocol.ts";

/** After this long without a fault, an old fault no longer counts: a laptop that sleeps loses its GPU each time. */
const FORGIVEN_AFTER_MS = 5 * 60 * 1000;

export type HostState =
  /** `step` and `share` (0 to 1, null while unknown) describe the start. */
  | { phase: "starting"; step: string; share: number | null; note: string | null }
  | { phase: "ready"; info: Info; note: string | null }
  /** `message` is `reason`, both sentences, with what the user can do. */
  | { phase: "failed"; message: string; reason: string };

export class EngineHost {
  readonly changed = new Emitter<HostState>();
  #state: HostState = { phase: "starting", step: "Starting the engine", share: null, note: null };
  #client: EngineClient | null = null;
  /** Grows with each start: what an earlier one still has under way is then ignored. */
  #run = 0;
  /** The question that the model is answering in words. */
  #speaking: symbol | null = null;
  #lastFaultAt = new Map<Backend, number>();

  #assets: AssetSource;

  constructor(assets: AssetSource) {
    this.#assets = assets;
  }

  get state(): HostState {
    return this.#state;
  }

  /**
   * Starts, or starts again, on the device of choice, with other files where they are given. Never rejects:
   * what happens is in `state`.
   */
  async start(choice: DeviceChoice, assets: AssetSource = this.#assets): Promise<void> {
    this.#lastFaultAt.clear();
    this.#assets = assets;
    const run = this.#begin("Starting the engine", null);
    if (choice === "cpu") return this.#boot(run, "cpu", null);
    const { reasonAgainstGpu = null } = assets;
    if (reasonAgainstGpu !== null) return this.#boot(run, "cpu", reasonAgainstGpu);
    const reason = await this.#reasonAgainstGpu(run, choice);
    if (run !== this.#run) return;
    return this.#boot(run, reason === null ? "webgpu" : "cpu", reason);
  }

  /**
   * What a `model.json` describes, and the GPU that it could run on. A worker of its own: the running one is
   * not disturbed.
   */
  async examine(manifest: ArrayBuffer): Promise<{ summary: PackageSummary; adapter: Adapter }> {
    const client = new EngineClient(this.#assets, await this.#assets.workerUrl(), () => {});
    try {
      const summary = await client.inspect(manifest);
      return { summary, adapter: await client.probe() };
    } finally {
      client.dispose();
    }
  }

  /** Ends a worker that does not answer and starts a fresh one on the same device; no fault is counted. */
  async replace(why: string): Promise<void> {
    if (this.#state.phase !== "ready") return;
    const { backend } = this.#state.info;
    return this.#boot(this.#begin("Starting the engine again", why), backend, why);
  }

  async analyze(
    files: SourceFile[],
    options: AnalyzeOptions,
    onProgress: (progress: Progress) => void,
  ): Promise<Analysis> {
    const client = this.#ready();
    // New text does not wait for words about the old.
    if (this.#speaking) await client.cancel();
    return client.analyze(files, options, onProgress);
  }

  /** Lets the model speak about the unit that holds a line; an analysis or another question ends it. */
  async generate(
    file: SourceFile,
    line: number,
    options: GenerateOptions,
    onWords: (piece: string) => void,
  ): Promise<Generated> {
    const client = this.#ready();
    if (this.#speaking) await client.cancel();
    const turn = Symbol("turn");
    this.#speaking = turn;
    try {
      return await client.generate(file, line, options, onWords);
    } finally {
      // A later question may have taken its place.
      if (this.#speaking === turn) this.#speaking = null;
    }
  }

  async cancel(): Promise<null> {
    return this.#ready().cancel();
  }

  async export(analysis: Analysis, files: SourceFile[], format: ExportFormat): Promise<string> {
    return this.#ready().export(analysis, files, format);
  }

  async #reasonAgainstGpu(run: number, choice: DeviceChoice): Promise<string | null> {
    try {
      const adapter = await (await this.#spawn(run)).probe();
      if (!adapter.available) return `No GPU: ${adapter.reason}. Using the processor.`;
      if (adapter.software && choice === "auto") {
        return `The only GPU adapter is a software one (${adapter.name}), slower than the processor. Using the processor.`;
      }
      return null;
    } catch (error) {
      return `The GPU could not be asked: ${EngineFault.from(error).message}. Using the processor.`;
    }
  }

  /** `note` is what the user is to know about the choice of device, kept on show once it runs. */
  async #boot(run: number, backend: Backend, note: string | null): Promise<void> {
    const name = deviceName(backend);
    try {
      const client = await this.#spawn(run);
      const info = await client.boot(backend, (label, share) => {
        if (run === this.#run) this.#set({ phase: "starting", step: `${label} (${name})`, share, note });
      });
      if (run === this.#run) this.#set({ phase: "ready", info, note });
    } catch (error) {
      if (run !== this.#run) return;
      const fault = EngineFault.from(error);
      // Files that did not arrive will not arrive for the processor either.
      if (backend === "webgpu" && !PACKAGE_KINDS.includes(fault.kind)) {
        return this.#boot(
          run,
          "cpu",
          `The GPU was not used: ${sentence(fault.message)} Using the processor.`,
        );
      }
      this.#fail(fault);
    }
  }

  /** A worker that ran has died: once more on the same device, then the processor, then the end. */
  #recover(fault: EngineFault): void {
    if (this.#state.phase !== "ready") return;
    const { backend } = this.#state.info;
    const previous = this.#lastFaultAt.get(backend);
    const now = performance.now();
    this.#lastFaultAt.set(backend, now);
    const first = previous === undefined || now - previous > FORGIVEN_AFTER_MS;
    const next = first ? backend : backend === "webgpu" ? "cpu" : null;
    if (next === null) {
      this.#fail(fault);
      return;
    }
    const why = `The engine stopped: ${sentence(fault.message)} It was started again on the ${deviceName(next)}; your text is unchanged.`;
    void this.#boot(this.#begin("Starting the engine again", why), next, why);
  }

  #fail(fault: EngineFault): void {
    this.#client?.dispose();
    this.#client = null;
    const reason = sentence(fault.message);
    const advice = PACKAGE_KINDS.includes(fault.kind)
      ? ""
      : " Your text is kept. Press “Start again”, or choose another device in the settings.";
    this.#set({ phase: "failed", message: `${reason}${advice}`, reason });
  }

  #begin(step: string, note: string | null): number {
    this.#run += 1;
    this.#client?.dispose();
    this.#client = null;
    this.#set({ phase: "starting", step, share: null, note });
    return this.#run;
  }

  /** A fresh worker: one instance of the engine can take a device only once. */
  async #spawn(run: number): Promise<EngineClient> {
    const url = await this.#assets.workerUrl();
    if (run !== this.#run) throw new EngineFault("disposed", "The engine was started anew meanwhile.");
    this.#client?.dispose();
    // While it starts, a death rejects the boot itself, which knows better what to do.
    this.#client = new EngineClient(this.#assets, url, (fault) => run === this.#run && this.#recover(fault));
    return this.#client;
  }

  #ready(): EngineClient {
    if (this.#client && this.#state.phase === "ready") return this.#client;
    throw new EngineFault("not-ready", "The engine is not ready yet. Wait for it, then try again.");
  }

  #set(state: HostState): void {
    this.#state = state;
    this.changed.emit(state);
  }
}

export function deviceName(backend: Backend): string {
  return backend === "webgpu" ? "GPU" : "processor";
}

/** Messages from elsewhere may lack the full stop. */
function sentence(text: string): string {
  const trimmed = text.trim();
  return /[.!?]$/.test(trimmed) ? trimmed : `${trimmed}.`;
}
