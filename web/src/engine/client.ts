// One worker and the requests that are open with it. It starts once and dies once; the host replaces it.

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
  ShardInfo,
  SourceFile,
} from "../../../crates/cloister-wasm/src/types.ts";
import { megabytes } from "../text/bytes.ts";
import type { AssetSource, OnBytes } from "./assets.ts";
import { EngineFault } from "./fault.ts";
import { Heartbeat } from "./heartbeat.ts";
import type { Adapter, FromWorker, Operation, Requests, ToWorker } from "./protocol.ts";
import { scriptUrl } from "./trusted.ts";

interface Pending {
  resolve(value: unknown): void;
  reject(fault: EngineFault): void;
  onProgress: (progress: Progress) => void;
  onWords: (piece: string) => void;
}

/** Start-up as the user sees it: one sentence, and a share of it when that is known. */
export type OnStep = (label: string, share: number | null) => void;

export class EngineClient {
  readonly #worker: Worker;
  readonly #heartbeat: Heartbeat;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #dead: EngineFault | null = null;

  /** `onDeath` is called at most once, and never after `dispose`. */
  constructor(
    private readonly assets: AssetSource,
    workerUrl: string,
    private readonly onDeath: (fault: EngineFault) => void,
  ) {
    this.#worker = new Worker(scriptUrl(workerUrl), { name: "engine" });
    this.#worker.addEventListener("message", (event: MessageEvent<FromWorker>) => this.#receive(event.data));
    this.#worker.addEventListener("error", (event) => {
      this.#die("crashed", event.message || "the worker script could not be loaded");
    });
    this.#worker.addEventListener("messageerror", () => this.#die("crashed", "a message could not be read"));
    this.#heartbeat = new Heartbeat(
      () => this.#post({ type: "ping" }),
      () => this.#pending.size > 0,
      () => this.#die("silent", "it stopped answering"),
    );
  }

  probe(): Promise<Adapter> {
    return this.#request("probe", {});
  }

  /** What a `model.json` describes; takes no device. */
  async inspect(manifest: ArrayBuffer): Promise<PackageSummary> {
    const wasm = await this.assets.wasm(() => {});
    return this.#request("inspect", { wasm, manifest }, [wasm]);
  }

  /** Loads everything and runs the self-test; rejects with the true reason. */
  async boot(backend: Backend, onStep: OnStep): Promise<Info> {
    onStep("Loading the engine", null);
    const wasm = await this.assets.wasm((done) => onStep(`Loading the engine, ${megabytes(done)}`, null));
    const manifest = await this.assets.manifest();
    onStep("Starting the engine", null);
    const onProgress = ({ label, stage, done, total }: Progress) => {
      onStep(label || stageLabel(stage), total > 0 ? done / total : null);
    };
    const shards = await this.#request("create", { wasm, manifest, backend }, [wasm, manifest], onProgress);
    const total = shards.reduce((sum, shard) => sum + shard.bytes, 0);
    let before = 0;
    for (const [index, shard] of shards.entries()) {
      await this.#bring(index, shard, (done) => {
        const label = `Loading the model, ${megabytes(before + done)} of ${megabytes(total)}`;
        onStep(label, (before + done) / Math.max(1, total));
      });
      before += shard.bytes;
    }
    onStep("Checking the model on this device", null);
    return this.#request("finish", {}, [], onProgress);
  }

  /** A copy that the engine refuses is asked for again where the source has another. */
  async #bring(index: number, { file, bytes: size }: ShardInfo, onBytes: OnBytes): Promise<void> {
    for (let accepted = false; !accepted; ) {
      const bytes = await this.assets.shard(file, size, onBytes);
      try {
        await this.#request("shard", { index, bytes }, [bytes]);
        accepted = true;
      } catch (error) {
        if (this.#dead || !(await this.assets.refused?.(file))) throw error;
      }
    }
    await this.assets.taken?.(file);
  }

  analyze(
    files: SourceFile[],
    options: AnalyzeOptions,
    onProgress: (progress: Progress) => void,
  ): Promise<Analysis> {
    return this.#request("analyze", { files, options }, [], onProgress);
  }

  generate(
    file: SourceFile,
    line: number,
    options: GenerateOptions,
    onWords: (piece: string) => void,
  ): Promise<Generated> {
    return this.#request("generate", { file, line, options }, [], undefined, onWords);
  }

  cancel(): Promise<null> {
    return this.#request("cancel", {});
  }

  export(analysis: Analysis, files: SourceFile[], format: ExportFormat): Promise<string> {
    return this.#request("export", { analysis, files, format });
  }

  /** Ends the worker; open requests reject with kind `disposed`. */
  dispose(): void {
    this.#end(new EngineFault("disposed", "The engine was stopped."));
  }

  #request<Op extends Operation>(
    op: Op,
    args: Requests[Op]["in"],
    transfer: Transferable[] = [],
    onProgress: (progress: Progress) => void = () => {},
    onWords: (piece: string) => void = () => {},
  ): Promise<Requests[Op]["out"]> {
    if (this.#dead) return Promise.reject(this.#dead);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve: resolve as (value: unknown) => void, reject, onProgress, onWords });
      this.#post({ type: "request", id, op, args } as ToWorker, transfer);
    });
  }

  #post(message: ToWorker, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #receive(message: FromWorker): void {
    this.#heartbeat.heard();
    switch (message.type) {
      case "pong":
        return;
      case "progress":
        this.#pending.get(message.id)?.onProgress(message.progress);
        return;
      case "words":
        this.#pending.get(message.id)?.onWords(message.piece);
        return;
      case "crashed":
        this.#die("crashed", message.message);
        return;
      case "reply": {
        const pending = this.#pending.get(message.id);
        this.#pending.delete(message.id);
        if (message.ok) pending?.resolve(message.value);
        else pending?.reject(new EngineFault(message.error.kind, message.error.message));
      }
    }
  }

  #die(kind: string, why: string): void {
    if (this.#dead) return;
    const fault = new EngineFault(kind, why);
    this.#end(fault);
    this.onDeath(fault);
  }

  #end(fault: EngineFault): void {
    if (this.#dead) return;
    this.#dead = fault;
    this.#heartbeat.stop();
    this.#worker.terminate();
    for (const pending of this.#pending.values()) pending.reject(fault);
    this.#pending.clear();
  }
}

function stageLabel(stage: Progress["stage"]): string {
  switch (stage) {
    case "device":
      return "Asking for the device";
    case "weights":
      return "Loading the weights";
    case "self-test":
      return "Checking the model on this device";
    case "units":
      return "Analysing";
  }
}
