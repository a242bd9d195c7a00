import { Emitter } from "./emitter.ts";
import { load, save } from "./storage.ts";

export type DeviceChoice = "auto" | "webgpu" | "cpu";
export type EditorKind = "code" | "plain";
export type ThemeChoice = "auto" | "light" | "dark";

export interface SettingsValues {
  device: DeviceChoice;
  /** Report at this confidence or more, 0 to 1; null for the package's own thresholds. */
  threshold: number | null;
  /** CWE ids to report; null for all. */
  cwes: string[] | null;
  editor: EditorKind;
  theme: ThemeChoice;
  /** SHA-256 of the added model in use; null for the one that comes with the page. */
  model: string | null;
}

const KEY = "settings.1";

const DEFAULTS: SettingsValues = {
  device: "auto",
  threshold: null,
  cwes: null,
  editor: "code",
  theme: "auto",
  model: null,
};

/** The user's choices, kept on this machine. */
export class Settings {
  readonly changed = new Emitter<keyof SettingsValues>();
  #values: SettingsValues = read();

  get<K extends keyof SettingsValues>(key: K): SettingsValues[K] {
    return this.#values[key];
  }

  set<K extends keyof SettingsValues>(key: K, value: SettingsValues[K]): void {
    if (JSON.stringify(this.#values[key]) === JSON.stringify(value)) return;
    this.#values = { ...this.#values, [key]: value };
    save(KEY, this.#values);
    this.changed.emit(key);
  }

  /** Back to the defaults, without writing them: nothing stays stored. */
  reset(): void {
    this.#values = { ...DEFAULTS };
    for (const key of Object.keys(DEFAULTS) as (keyof SettingsValues)[]) this.changed.emit(key);
  }
}

function read(): SettingsValues {
  const stored = load(KEY);
  if (typeof stored !== "object" || stored === null) return { ...DEFAULTS };
  const given = stored as Record<string, unknown>;
  const { threshold, cwes, model } = given;
  return {
    device: oneOf(given.device, ["auto", "webgpu", "cpu"], DEFAULTS.device),
    threshold: typeof threshold === "number" && threshold >= 0 && threshold <= 1 ? threshold : null,
    cwes: Array.isArray(cwes) ? cwes.filter((cwe) => typeof cwe === "string") : null,
    editor: oneOf(given.editor, ["code", "plain"], DEFAULTS.editor),
    theme: oneOf(given.theme, ["auto", "light", "dark"], DEFAULTS.theme),
    model: typeof model === "string" ? model : null,
  };
}

function oneOf<T extends string>(value: unknown, allowed: readonly T[], fallback: T): T {
  return allowed.find((choice) => choice === value) ?? fallback;
}
