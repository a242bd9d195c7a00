import { Emitter } from "./emitter.ts";
import { load, remove, type StorageFault, save } from "./storage.ts";

export interface SourceDocument {
  readonly id: number;
  /** Unique among the open documents: findings name their file by it. */
  readonly name: string;
  readonly text: string;
  /** True until the user has typed into it: opening a sample then replaces it. */
  readonly untouched: boolean;
}

/** `list`: documents came or went; `active`: another one is shown; `text`: the user typed. */
export type DocumentsEvent = { kind: "list" } | { kind: "active" } | { kind: "text"; id: number };

const KEY = "documents.1";
const SAVE_DELAY_MS = 300;
const FIRST_NAME = "untitled.py";

/** The open files, in the order of their tabs. There is always at least one. */
export class Documents {
  readonly changed = new Emitter<DocumentsEvent>();
  readonly storageFault = new Emitter<StorageFault>();
  #items: SourceDocument[] = [];
  #active = 0;
  #nextId = 1;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.#read();
    if (this.#items.length === 0) this.#items = [this.#blank()];
    this.#active = this.#items.some((item) => item.id === this.#active) ? this.#active : this.#first().id;
    // A tab that is closed or put away must not lose the last keystrokes.
    addEventListener("pagehide", () => this.#flush());
    document.addEventListener("visibilitychange", () => document.hidden && this.#flush());
  }

  get list(): readonly SourceDocument[] {
    return this.#items;
  }

  get active(): SourceDocument {
    return this.#items.find((item) => item.id === this.#active) ?? this.#first();
  }

  byName(name: string): SourceDocument | undefined {
    return this.#items.find((item) => item.name === name);
  }

  activate(id: number): void {
    if (id === this.#active || !this.#items.some((item) => item.id === id)) return;
    this.#active = id;
    this.#saveSoon();
    this.changed.emit({ kind: "active" });
  }

  /** Adds documents as tabs and shows the first of them; a blank untouched tab gives way to them. */
  add(files: { name: string; text: string }[]): void {
    if (files.length === 0) return;
    const kept = this.#items.filter((item) => !(item.untouched && item.text === ""));
    this.#items = kept;
    const added = files.map(({ name, text }) => {
      const item = { id: this.#nextId++, name: this.#freeName(name), text, untouched: true };
      this.#items = [...this.#items, item];
      return item;
    });
    this.#active = added[0]?.id ?? this.#first().id;
    this.#saveSoon();
    this.changed.emit({ kind: "list" });
    this.changed.emit({ kind: "active" });
  }

  /** Takes what the user typed; the editor shows it already. */
  setText(id: number, text: string): void {
    const item = this.#items.find((candidate) => candidate.id === id);
    if (!item || item.text === text) return;
    this.#items = this.#items.map((other) =>
      other.id === id ? { ...other, text, untouched: false } : other,
    );
    this.#saveSoon();
    this.changed.emit({ kind: "text", id });
  }

  close(id: number): void {
    const index = this.#items.findIndex((item) => item.id === id);
    if (index < 0) return;
    this.#items = this.#items.filter((item) => item.id !== id);
    if (this.#items.length === 0) this.#items = [this.#blank()];
    if (this.#active === id) this.#active = (this.#items[index] ?? this.#items.at(-1) ?? this.#first()).id;
    this.#saveSoon();
    this.changed.emit({ kind: "list" });
    this.changed.emit({ kind: "active" });
  }

  /** Opens one more blank tab. */
  addBlank(): void {
    const item = this.#blank();
    this.#items = [...this.#items, item];
    this.#active = item.id;
    this.#saveSoon();
    this.changed.emit({ kind: "list" });
    this.changed.emit({ kind: "active" });
  }

  /** Closes everything and stores nothing. */
  reset(): void {
    this.#items = [];
    this.#items = [this.#blank()];
    this.#active = this.#first().id;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.changed.emit({ kind: "list" });
    this.changed.emit({ kind: "active" });
  }

  #first(): SourceDocument {
    const [first] = this.#items;
    if (first) return first;
    const blank = this.#blank();
    this.#items = [blank];
    return blank;
  }

  #blank(): SourceDocument {
    return { id: this.#nextId++, name: this.#freeName(FIRST_NAME), text: "", untouched: true };
  }

  /** `name`, or `name (2)` and so on while that name is taken. */
  #freeName(name: string): string {
    const taken = new Set(this.#items.map((item) => item.name));
    if (!taken.has(name)) return name;
    const dot = name.lastIndexOf(".");
    const [stem, suffix] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
    let n = 2;
    while (taken.has(`${stem} (${n})${suffix}`)) n += 1;
    return `${stem} (${n})${suffix}`;
  }

  #saveSoon(): void {
    this.#timer ??= setTimeout(() => this.#flush(), SAVE_DELAY_MS);
  }

  #flush(): void {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const items = this.#items.map(({ name, text, untouched }) => ({ name, text, untouched }));
    const active = this.#items.findIndex((item) => item.id === this.#active);
    const fault = save(KEY, { active, items });
    if (fault === null) return;
    remove(KEY);
    this.storageFault.emit(fault);
  }

  #read(): void {
    const stored = load(KEY) as { active?: unknown; items?: unknown } | null;
    if (typeof stored !== "object" || stored === null || !Array.isArray(stored.items)) return;
    for (const item of stored.items as Record<string, unknown>[]) {
      if (typeof item?.name !== "string" || typeof item.text !== "string") continue;
      const untouched = item.untouched === true;
      const entry = { id: this.#nextId++, name: this.#freeName(item.name), text: item.text, untouched };
      this.#items = [...this.#items, entry];
    }
    this.#active = this.#items[Number(stored.active)]?.id ?? 0;
  }
}
