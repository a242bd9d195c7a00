// Where an added model comes from: files that the user picked, or an address of this very origin.

import type { ShardInfo } from "../../../crates/cloister-wasm/src/types.ts";
import { download, type OnBytes } from "../engine/assets.ts";
import { EngineFault } from "../engine/fault.ts";
import { showHidden } from "../text/hidden.ts";

const MANIFEST = "model.json";
/** As the engine's own limit: a larger one is not read into memory at all. */
const MOST_MANIFEST_BYTES = 4 * 1024 * 1024;

/** What is kept of an origin; files must be picked again. */
export type RememberedOrigin = { kind: "files" } | { kind: "address"; address: string };

export interface PackageOrigin {
  readonly remembered: RememberedOrigin;
  manifest(): Promise<ArrayBuffer>;
  /** The file of this name; it is read only when its bytes are asked for. */
  file(name: string, bytes: number, onBytes: OnBytes): Promise<Blob>;
  /** Names of files that are known not to be there, without reading any. */
  absent(files: readonly ShardInfo[]): string[];
  /** Ends what is being read. */
  stop(): void;
}

/** The files of a package as the user picked them, in a folder or one by one. */
export class PickedPackage implements PackageOrigin {
  readonly remembered = { kind: "files" } as const;
  readonly #files = new Map<string, File>();

  /** Throws an EngineFault where there is not exactly one `model.json` to go by. */
  constructor(picked: readonly File[]) {
    const folder = (file: File) => file.webkitRelativePath.split("/").slice(0, -1).join("/");
    const depth = (file: File) => file.webkitRelativePath.split("/").length;
    const manifests = picked.filter(({ name }) => name === MANIFEST).sort((a, b) => depth(a) - depth(b));
    const [manifest, second] = manifests;
    if (!manifest) {
      throw new EngineFault(
        "not-a-package",
        `There is no ${MANIFEST} among what you chose, so it is not a model package. Choose the folder that “cloister import” wrote, or all of its files together.`,
      );
    }
    if (second && depth(second) === depth(manifest)) {
      throw new EngineFault(
        "not-a-package",
        `There are several packages in that folder (${showHidden(folder(manifest))} and ${showHidden(folder(second))}). Choose the folder of one of them.`,
      );
    }
    for (const file of picked) if (folder(file) === folder(manifest)) this.#files.set(file.name, file);
  }

  async manifest(): Promise<ArrayBuffer> {
    return readManifest(await this.file(MANIFEST));
  }

  async file(name: string): Promise<Blob> {
    const file = this.#files.get(name);
    if (file) return file;
    throw new EngineFault(
      "missing-file",
      `The file ${showHidden(name)} of the package is not among what you chose. Choose the whole folder, or all of its files together.`,
    );
  }

  absent(files: readonly ShardInfo[]): string[] {
    return files.filter(({ file }) => !this.#files.has(file)).map(({ file }) => file);
  }

  stop(): void {
    // Reading a file of the disk ends by itself.
  }
}

/** A folder of this origin with a package in it. */
export class ServedPackage implements PackageOrigin {
  readonly remembered: RememberedOrigin;
  readonly #address: URL;
  #abort = new AbortController();

  /** Throws an EngineFault where `text` is no address of this origin. */
  constructor(text: string) {
    this.#address = ownAddress(text);
    this.remembered = { kind: "address", address: this.#address.href };
  }

  async manifest(): Promise<ArrayBuffer> {
    return readManifest(await this.#download(this.#address, MOST_MANIFEST_BYTES, () => {}));
  }

  file(name: string, bytes: number, onBytes: OnBytes): Promise<Blob> {
    // The engine takes plain names only, so this stays in the folder of the manifest.
    return this.#download(new URL(name, this.#address), bytes, onBytes);
  }

  absent(): string[] {
    return [];
  }

  stop(): void {
    this.#abort.abort();
    this.#abort = new AbortController();
  }

  #download(address: URL, bytes: number | null, onBytes: OnBytes): Promise<Blob> {
    const advice = "Check the address and that the whole package lies there, then try again.";
    return download(address.pathname, bytes, onBytes, advice, this.#abort.signal);
  }
}

/** Whether this page has an origin whose files it may read. */
export function hasOrigin(): boolean {
  return location.protocol === "http:" || location.protocol === "https:";
}

/** The address of the `model.json` that the user means, if it is one of this origin. */
function ownAddress(text: string): URL {
  if (!hasOrigin()) {
    throw new EngineFault(
      "other-origin",
      "This page was opened from a file, and browsers let such a page read no other file by its address. Choose the folder of the package instead.",
    );
  }
  let address: URL;
  try {
    address = new URL(text.trim(), document.baseURI);
  } catch {
    throw new EngineFault(
      "not-a-package",
      "This is not an address. Give the path of the package's folder, such as /models/mine/.",
    );
  }
  const plain = address.protocol === location.protocol && address.username === "" && address.password === "";
  if (!plain || address.origin !== location.origin) {
    throw new EngineFault(
      "other-origin",
      `This is not an address of ${location.origin}, where this page comes from. The page talks to no other server, so that nothing you paste can leave: download the package, then choose its folder here.`,
    );
  }
  address.search = "";
  address.hash = "";
  if (!address.pathname.endsWith(".json"))
    address.pathname = `${address.pathname.replace(/\/$/, "")}/${MANIFEST}`;
  return address;
}

async function readManifest(blob: Blob): Promise<ArrayBuffer> {
  if (blob.size > MOST_MANIFEST_BYTES) {
    throw new EngineFault(
      "manifest-too-large",
      `${MANIFEST} is too large for a manifest; this is not a Cloister package.`,
    );
  }
  return bytesOf(blob, MANIFEST);
}

/** The bytes of a file, which may have gone or changed since it was picked. */
export async function bytesOf(blob: Blob, name: string): Promise<ArrayBuffer> {
  try {
    return await blob.arrayBuffer();
  } catch {
    throw new EngineFault(
      "io",
      `The file ${showHidden(name)} cannot be read any more: it was changed or moved. Choose the package again.`,
    );
  }
}
