// Which model the page uses: the one that comes with it, or one that the user added. A change that fails or
// is cancelled ends with the model that was in use before; the user's text is never touched.

import type { PackageSummary } from "../../../crates/cloister-wasm/src/types.ts";
import type { AssetSource } from "../engine/assets.ts";
import type { EngineHost, HostState } from "../engine/host.ts";
import { Emitter } from "../state/emitter.ts";
import type { Settings } from "../state/settings.ts";
import { showHidden } from "../text/hidden.ts";
import { AddedModel } from "./added.ts";
import { type Fit, fit } from "./fit.ts";
import { canKeep, KeptPackage, removeKept } from "./kept.ts";
import { hasOrigin, type PackageOrigin, ServedPackage } from "./origin.ts";

/** A package that was looked at and not loaded. */
export interface Found {
  origin: PackageOrigin;
  manifest: ArrayBuffer;
  summary: PackageSummary;
  fit: Fit;
  /** Names of files that are neither at the origin nor kept. */
  absent: string[];
}

/** A model that the page can start with. `hash` is null for the one that comes with the page. */
interface Choice {
  hash: string | null;
  name: string;
  assets: AssetSource;
}

export class Models {
  /** Another model is in use, is being loaded, or is kept. */
  readonly changed = new Emitter<void>();
  /** Another model is in use: what an earlier one found no longer counts. */
  readonly switched = new Emitter<void>();
  #current: Choice;
  /** What is being loaded, and what to go back to. */
  #pending: { next: Choice; previous: Choice } | null = null;

  constructor(
    private readonly host: EngineHost,
    private readonly page: AssetSource,
    private readonly settings: Settings,
    private readonly tell: (message: string) => void,
  ) {
    this.#current = this.#shipped();
    host.changed.on((state) => this.#follow(state));
  }

  /** The SHA-256 of the model in use; null for the one that comes with the page. */
  get current(): string | null {
    return this.#current.hash;
  }

  /** The name of the added model that is being loaded. */
  get loading(): string | null {
    return this.#pending?.next.name ?? null;
  }

  /** Starts the engine as the page opens: with the model that was chosen last, where it is kept. */
  async begin(): Promise<void> {
    const hash = this.settings.get("model");
    if (hash === null) return this.restart();
    const choice = await this.#kept(hash);
    if (choice) return this.#load(choice);
    this.settings.set("model", null);
    this.tell(
      "The model that you added is no longer in this browser’s storage. Add it again under “Models”.",
    );
    this.restart();
  }

  /** Starts the engine anew, as on another device. */
  restart(): void {
    void this.host.start(this.settings.get("device"), (this.#pending?.next ?? this.#current).assets);
  }

  /** Looks at a package without loading it. Rejects with an EngineFault or an EngineError. */
  async examine(origin: PackageOrigin): Promise<Found> {
    const manifest = await origin.manifest();
    const { summary, adapter } = await this.host.examine(manifest);
    const kept = await KeptPackage.find(summary.modelHash);
    const absent: string[] = [];
    for (const name of origin.absent(summary.files)) if (!(await kept?.file(name))) absent.push(name);
    return { origin, manifest, summary, fit: fit(summary.requirements, adapter), absent };
  }

  /** Loads what was looked at. */
  async add({ origin, manifest, summary, fit: { reasonAgainstGpu } }: Found): Promise<void> {
    const kept = await KeptPackage.make(summary, manifest, origin.remembered, reasonAgainstGpu);
    const assets = new AddedModel(this.page, manifest, origin, kept, reasonAgainstGpu);
    this.#load({ hash: summary.modelHash, name: summary.card.name, assets });
  }

  /** Loads what is kept; what is missing of it comes from its address, if it has one. */
  async useKept(hash: string): Promise<void> {
    const choice = await this.#kept(hash, true);
    if (choice) this.#load(choice);
    else this.tell("This model is no longer in this browser’s storage. Add it again.");
  }

  /** Back to the model that comes with the page. */
  useShipped(): void {
    if (this.#current.hash === null) this.cancel();
    else this.#load(this.#shipped());
  }

  /** Ends the loading of an added model and goes back to the one before. */
  cancel(): void {
    const pending = this.#pending;
    if (!pending) return;
    this.#pending = null;
    this.#stop(pending.next);
    this.restart();
    this.tell(
      canKeep()
        ? `Loading “${showHidden(pending.next.name)}” was cancelled. What had arrived is kept: go on under “Models”.`
        : `Loading “${showHidden(pending.next.name)}” was cancelled.`,
    );
    this.changed.emit();
  }

  /** Forgets a kept model; one that is in use gives way to the page's own. */
  async remove(hash: string): Promise<void> {
    if (this.#pending?.next.hash === hash) this.cancel();
    if (this.#current.hash === hash) this.useShipped();
    await removeKept(hash);
    this.changed.emit();
  }

  /** Forgets all of them. */
  async removeAll(): Promise<void> {
    if (this.#pending) this.cancel();
    this.useShipped();
    await removeKept(null);
    this.changed.emit();
  }

  #shipped(): Choice {
    return { hash: null, name: "the page’s own model", assets: this.page };
  }

  async #kept(hash: string, alsoIncomplete = false): Promise<Choice | null> {
    const kept = await KeptPackage.find(hash);
    const json = await kept?.manifest();
    if (!kept || !json) return null;
    const { name, complete } = await kept.describe();
    if (!complete && !alsoIncomplete) return null;
    const { origin: from, reasonAgainstGpu } = kept;
    const origin = from.kind === "address" && hasOrigin() ? new ServedPackage(from.address) : null;
    const assets = new AddedModel(this.page, await json.arrayBuffer(), origin, kept, reasonAgainstGpu);
    return { hash, name, assets };
  }

  #load(next: Choice): void {
    if (this.#pending) this.#stop(this.#pending.next);
    this.#pending = { next, previous: this.#current };
    this.restart();
    this.changed.emit();
  }

  #stop({ assets }: Choice): void {
    if (assets instanceof AddedModel) assets.stop();
  }

  #follow(state: HostState): void {
    const pending = this.#pending;
    if (!pending || state.phase === "starting") return;
    this.#pending = null;
    // Later: the other listeners are to see this state before the next.
    queueMicrotask(() => {
      if (state.phase === "ready") this.#settle(pending.next);
      else this.#goBack(pending, state.reason);
    });
  }

  #settle(next: Choice): void {
    const before = this.#current;
    this.#current = next;
    const survives = !(next.assets instanceof AddedModel) || next.assets.survivesReload;
    this.settings.set("model", survives ? next.hash : null);
    if (next.hash !== before.hash) this.switched.emit();
    const name = next.hash === null ? "the page’s own model" : `“${showHidden(next.name)}”`;
    const note = survives
      ? ""
      : canKeep()
        ? " The browser had no room to keep it: add it again after a reload."
        : " This browser keeps no models for this address: add it again after a reload.";
    this.tell(`The page now uses ${name}.${note}`);
    this.changed.emit();
  }

  #goBack({ next, previous }: { next: Choice; previous: Choice }, reason: string): void {
    this.settings.set("model", previous.hash === null ? null : this.settings.get("model"));
    const name = previous.hash === null ? "its own model" : `“${showHidden(previous.name)}”`;
    this.tell(
      `“${showHidden(next.name)}” could not be used: ${showHidden(reason)} The page goes on with ${name}; your text is unchanged.`,
    );
    this.restart();
    this.changed.emit();
  }
}
