// Where the engine's bytes come from. The engine itself takes bytes, not addresses, so a document that
// carries everything inside itself needs only another `AssetSource`.

import { EngineFault } from "./fault.ts";

/** Bytes read so far, and how many there will be when that is known. */
export type OnBytes = (done: number, total: number | null) => void;

export interface AssetSource {
  /** A blob: address of the whole worker script, the same for each worker. */
  workerUrl(): Promise<string>;
  wasm(onBytes: OnBytes): Promise<ArrayBuffer>;
  manifest(): Promise<ArrayBuffer>;
  /** `file` is relative to the manifest; `bytes` is the size that the manifest promises. */
  shard(file: string, bytes: number, onBytes: OnBytes): Promise<ArrayBuffer>;
  /** The engine has checked this file and taken it. */
  taken?(file: string): Promise<void>;
  /** The engine has refused this file. True where `shard` would now give another copy of it. */
  refused?(file: string): Promise<boolean>;
  /** Why this model must not be tried on the GPU, as a sentence for the user. */
  readonly reasonAgainstGpu?: string | null;
}

/**
 * Reads the files beside the page, each once: a restart of the worker takes the kept copy and needs no
 * network. Copies are Blobs, which browsers may keep outside the page's memory.
 */
export class FetchedAssets implements AssetSource {
  readonly #kept = new Map<string, Blob>();
  #workerUrl: string | null = null;

  /**
   * The glue and the worker as one blob. A worker from a blob: address is under this document's policy, even
   * when the server sends no header; one from its own address would be under none.
   */
  async workerUrl(): Promise<string> {
    if (this.#workerUrl === null) {
      const glue = await download("cloister_wasm.js", null, () => {}, BUILD_AGAIN);
      const worker = await download("worker.js", null, () => {}, BUILD_AGAIN);
      this.#workerUrl = URL.createObjectURL(new Blob([glue, "\n", worker], { type: "text/javascript" }));
    }
    return this.#workerUrl;
  }

  wasm(onBytes: OnBytes): Promise<ArrayBuffer> {
    return this.#read("cloister_wasm_bg.wasm", null, onBytes);
  }

  manifest(): Promise<ArrayBuffer> {
    return this.#read("model/model.json", null, () => {});
  }

  shard(file: string, bytes: number, onBytes: OnBytes): Promise<ArrayBuffer> {
    return this.#read(`model/${file}`, bytes, onBytes);
  }

  async #read(path: string, total: number | null, onBytes: OnBytes): Promise<ArrayBuffer> {
    const kept = this.#kept.get(path) ?? (await download(path, total, onBytes, BUILD_AGAIN));
    this.#kept.set(path, kept);
    return kept.arrayBuffer();
  }
}

const BUILD_AGAIN = 'Build the site again with "cargo xtask build", then try again.';

/**
 * A file of this origin; a server that sends it on to another place is refused. `path` is an address, or
 * relative to the page; `advice` is what to do where the server has no such file.
 */
export async function download(
  path: string,
  total: number | null,
  onBytes: OnBytes,
  advice: string,
  signal: AbortSignal | null = null,
): Promise<Blob> {
  const address = new URL(path, document.baseURI);
  let response: Response;
  try {
    response = await fetch(address, { credentials: "omit", redirect: "error", signal });
  } catch {
    if (signal?.aborted) throw new EngineFault("cancelled", `Loading ${path} was cancelled.`);
    throw new EngineFault(
      "assets",
      `Could not load ${path}. Check that the server still runs, then try again.`,
    );
  }
  if (!response.ok || !response.body) {
    throw new EngineFault("assets", `The server has no ${path} (HTTP ${response.status}). ${advice}`);
  }
  const parts: BlobPart[] = [];
  let done = 0;
  const reader = response.body.getReader();
  try {
    for (;;) {
      const chunk = await reader.read();
      if (chunk.done) break;
      parts.push(chunk.value);
      done += chunk.value.byteLength;
      onBytes(done, total);
      // The engine will say that it is too long; there is no need to take all of it.
      if (total !== null && done > total) {
        await reader.cancel();
        break;
      }
    }
  } catch {
    if (signal?.aborted) throw new EngineFault("cancelled", `Loading ${path} was cancelled.`);
    throw new EngineFault("assets", `The connection broke while loading ${path}. Try again.`);
  }
  return new Blob(parts);
}
