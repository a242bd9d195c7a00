import type { AssetSource, OnBytes } from "../engine/assets.ts";
import { EngineFault } from "../engine/fault.ts";
import { showHidden } from "../text/hidden.ts";
import type { KeptPackage } from "./kept.ts";
import { bytesOf, type PackageOrigin } from "./origin.ts";

/**
 * The page's own engine with a model that the user added. Its files come from the browser's storage where
 * they are kept, else from where the user said; each one that the engine has checked is kept. One file at a
 * time is in memory.
 */
export class AddedModel implements AssetSource {
  /** The file that the engine has and has not judged yet, and whether it came out of the storage. */
  #given: { file: string; content: Blob; fromStorage: boolean } | null = null;
  /**
   * What was fetched and cannot be kept: a restart must not need the network. Browsers may hold Blobs on the
   * disk.
   */
  readonly #held = new Map<string, Blob>();
  #keepsAll = true;

  constructor(
    private readonly page: AssetSource,
    private readonly json: ArrayBuffer,
    private readonly origin: PackageOrigin | null,
    private readonly kept: KeptPackage | null,
    readonly reasonAgainstGpu: string | null,
  ) {}

  /** False once a file found no room: the model must then be added again after a reload. */
  get survivesReload(): boolean {
    return this.kept !== null && this.#keepsAll;
  }

  workerUrl(): Promise<string> {
    return this.page.workerUrl();
  }

  wasm(onBytes: OnBytes): Promise<ArrayBuffer> {
    return this.page.wasm(onBytes);
  }

  async manifest(): Promise<ArrayBuffer> {
    // A copy: the one that is given goes to the worker.
    return this.json.slice(0);
  }

  async shard(file: string, bytes: number, onBytes: OnBytes): Promise<ArrayBuffer> {
    this.#given = await this.#find(file, bytes, onBytes);
    const content = await bytesOf(this.#given.content, file);
    onBytes(content.byteLength, bytes);
    return content;
  }

  async taken(file: string): Promise<void> {
    const given = this.#given;
    this.#given = null;
    if (given?.file !== file || given.fromStorage) return;
    if (this.kept && (await this.kept.put(file, given.content))) return;
    this.#keepsAll = false;
    this.#held.set(file, given.content);
  }

  async refused(file: string): Promise<boolean> {
    const given = this.#given;
    this.#given = null;
    if (given?.file !== file || !given.fromStorage) return false;
    await this.kept?.drop(file);
    return this.origin !== null;
  }

  /** Ends what is being read. */
  stop(): void {
    this.origin?.stop();
  }

  async #find(file: string, bytes: number, onBytes: OnBytes) {
    const held = this.#held.get(file);
    if (held) return { file, content: held, fromStorage: false };
    const stored = (await this.kept?.file(file)) ?? null;
    if (stored?.size === bytes) return { file, content: stored, fromStorage: true };
    if (this.origin)
      return { file, content: await this.origin.file(file, bytes, onBytes), fromStorage: false };
    throw new EngineFault(
      "missing-file",
      `The browser has not kept the file ${showHidden(file)} of this model. Choose the package again: what is kept is not read twice.`,
    );
  }
}
