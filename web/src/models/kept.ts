// Models in this browser's Cache storage: one cache for each package, named by its hash. A file is there
// whole or not at all, so that what was interrupted goes on behind the last whole file. What is read from
// here is checked like any other file.

import type { PackageSummary, Precision } from "../../../crates/cloister-wasm/src/types.ts";
import type { RememberedOrigin } from "./origin.ts";

const PREFIX = "cloister.model.";

/** What is written beside the files. */
interface About {
  name: string;
  modelId: string;
  parameters: number;
  precision: Precision;
  files: { file: string; bytes: number }[];
  origin: RememberedOrigin;
  reasonAgainstGpu: string | null;
}

/** A package of which something is kept. */
export interface KeptModel extends About {
  hash: string;
  /** Bytes of the package, and of what is here. */
  bytes: number;
  keptBytes: number;
  keptFiles: number;
  complete: boolean;
}

/** Whether this browser keeps files for this page: only on https and localhost. */
export function canKeep(): boolean {
  return isSecureContext && location.protocol.startsWith("http") && "caches" in globalThis;
}

/** Opening a cache makes it: what lists and what removes them must not overlap. */
let turn: Promise<unknown> = Promise.resolve();

function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const done = turn.then(work);
  turn = done.catch(() => {
    // Whoever asked for it is told; the next one begins all the same.
  });
  return done;
}

/** Everything that is kept, by name; nothing where the browser refuses. */
export async function listKept(): Promise<KeptModel[]> {
  if (!canKeep()) return [];
  const list = async () => {
    const names = (await caches.keys()).filter((name) => name.startsWith(PREFIX));
    const found = await Promise.all(names.map((name) => KeptPackage.read(name.slice(PREFIX.length))));
    const described = await Promise.all(found.map((kept) => kept?.describe() ?? null));
    return described.filter((model) => model !== null).sort((a, b) => a.name.localeCompare(b.name, "en"));
  };
  return inTurn(list).catch(() => []);
}

/** Forgets one package, or all. */
export async function removeKept(hash: string | null): Promise<void> {
  if (!canKeep()) return;
  const remove = async () => {
    const names = (await caches.keys()).filter((name) => name.startsWith(PREFIX));
    const doomed = names.filter((name) => hash === null || name === PREFIX + hash);
    await Promise.all(doomed.map((name) => caches.delete(name)));
  };
  await inTurn(remove).catch(() => {
    // Forbidden storage holds nothing to remove.
  });
}

/** One package in the storage. */
export class KeptPackage {
  private constructor(
    private readonly hash: string,
    private readonly cache: Cache,
    private readonly about: About,
  ) {}

  /** The package of this hash, where something of it is kept. */
  static async find(hash: string): Promise<KeptPackage | null> {
    if (!canKeep()) return null;
    return inTurn(() => KeptPackage.read(hash)).catch(() => null);
  }

  /** As `find`, for those who have the turn. */
  static async read(hash: string): Promise<KeptPackage | null> {
    if (!(await caches.has(PREFIX + hash))) return null;
    const cache = await caches.open(PREFIX + hash);
    const response = await cache.match(key(hash, "about"));
    const about = (await response?.json()) as About | undefined;
    return about && Array.isArray(about.files) ? new KeptPackage(hash, cache, about) : null;
  }

  /** A place for this package; null where the browser keeps nothing. */
  static async make(
    summary: PackageSummary,
    manifest: ArrayBuffer,
    origin: RememberedOrigin,
    reasonAgainstGpu: string | null,
  ): Promise<KeptPackage | null> {
    if (!canKeep()) return null;
    const { modelHash: hash, modelId, parameters, card, files, requirements } = summary;
    const precision = requirements.find(({ stored }) => stored)?.precision ?? "f32";
    const about: About = {
      name: card.name,
      modelId,
      parameters,
      precision,
      files: files.map(({ file, bytes }) => ({ file, bytes })),
      origin,
      reasonAgainstGpu,
    };
    try {
      const cache = await caches.open(PREFIX + hash);
      await cache.put(key(hash, "manifest"), new Response(manifest));
      await cache.put(key(hash, "about"), new Response(JSON.stringify(about)));
      return new KeptPackage(hash, cache, about);
    } catch {
      return null;
    }
  }

  get origin(): RememberedOrigin {
    return this.about.origin;
  }

  get reasonAgainstGpu(): string | null {
    return this.about.reasonAgainstGpu;
  }

  async describe(): Promise<KeptModel> {
    const here = new Set((await this.cache.keys()).map(({ url }) => url));
    const kept = this.about.files.filter(({ file }) => here.has(key(this.hash, `file/${file}`)));
    const sum = (files: { bytes: number }[]) => files.reduce((all, { bytes }) => all + bytes, 0);
    return {
      ...this.about,
      hash: this.hash,
      bytes: sum(this.about.files),
      keptBytes: sum(kept),
      keptFiles: kept.length,
      complete: kept.length === this.about.files.length,
    };
  }

  async manifest(): Promise<Blob | null> {
    return this.#read("manifest");
  }

  async file(name: string): Promise<Blob | null> {
    return this.#read(`file/${name}`);
  }

  /** Whether it found room. */
  async put(name: string, content: Blob): Promise<boolean> {
    try {
      await this.cache.put(key(this.hash, `file/${name}`), new Response(content));
      return true;
    } catch {
      return false;
    }
  }

  async drop(name: string): Promise<void> {
    await this.cache.delete(key(this.hash, `file/${name}`));
  }

  async #read(what: string): Promise<Blob | null> {
    try {
      return (await (await this.cache.match(key(this.hash, what)))?.blob()) ?? null;
    } catch {
      return null;
    }
  }
}

/** Caches are keyed by addresses; nothing is ever fetched from this one. */
function key(hash: string, what: string): string {
  return new URL(`/.cloister-kept/${hash}/${what}`, location.origin).href;
}
