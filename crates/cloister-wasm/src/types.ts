// The TypeScript face of the engine. Field names are those of the Rust structs that serde writes;
// `web/src` imports this file, and nothing else describes the wire format.

/** Where the model runs. */
export type Backend = "webgpu" | "cpu";

/** One file of weights, as `model.json` lists it. */
export interface ShardInfo {
  /** Path relative to `model.json`. */
  file: string;
  bytes: number;
  /** Lower-case hexadecimal SHA-256 of the whole file. */
  sha256: string;
}

export interface Position {
  /** 1-based. */
  line: number;
  /** 1-based, in UTF-16 code units. */
  column: number;
  /** Offset in the text, in UTF-16 code units. */
  utf16: number;
}

/** Half-open: `end` is the first position after it. */
export interface Range {
  start: Position;
  end: Position;
}

/** A stretch of source that the model judges as one. */
export interface UnitInfo {
  name: string;
  kind: "function" | "method" | "module";
  range: Range;
}

export type Severity = "low" | "medium" | "high" | "critical";

export interface Finding {
  /** Stable for the same file, unit and CWE. */
  id: string;
  file: string;
  /** Such as `CWE-89`. */
  cwe: string;
  name: string;
  severity: Severity;
  /** Calibrated probability, 0 to 1. */
  confidence: number;
  unit: UnitInfo;
  /** Spans the first block of `lines`. */
  range: Range;
  /** 1-based lines that carry the weakness. */
  lines: number[];
  /** One paragraph from the catalogue on what is wrong. */
  problem: string;
  /** One paragraph from the catalogue on the remedy. */
  remedy: string;
  links: string[];
}

/** What the model said of one unit, finding or not. */
export interface UnitVerdict {
  file: string;
  unit: UnitInfo;
  /** Calibrated probability that the unit carries no weakness, 0 to 1. */
  safe: number;
  /** The likeliest classes, best first. */
  top: { cwe: string; probability: number }[];
  /** True when the verdict was kept from an earlier run on the same text. */
  cached: boolean;
}

export interface Notice {
  file: string;
  kind:
    | "syntax-error"
    | "not-python"
    | "empty"
    | "truncated"
    | "control-characters"
    | "bidi-characters"
    | "lone-surrogate";
  message: string;
  /** Null when it concerns the whole file. */
  range: Range | null;
}

export interface Analysis {
  findings: Finding[];
  units: UnitVerdict[];
  notices: Notice[];
  /** True when `cancel` ended it: the lists hold what was done by then. */
  cancelled: boolean;
  /** Wall-clock time in milliseconds. */
  millis: number;
  /** Tokens that went through the model in this run. */
  tokens: number;
  unitsRun: number;
  unitsCached: number;
}

export interface ModelCard {
  name: string;
  trainedOn: string[];
  cannotSee: string[];
  figures: {
    name: string;
    value: number;
    /** Lower end of the 95 % interval, when there is one. */
    low: number | null;
    high: number | null;
    /** Rows measured. */
    n: number;
    data: string;
    /** The command that reproduces it. */
    command: string;
  }[];
}

export interface Info {
  backend: Backend;
  /** The adapter's own description, or the processor path in use. */
  adapter: string;
  precision: "f32" | "f16";
  modelId: string;
  /** SHA-256 over the package, hexadecimal. */
  modelHash: string;
  parameters: number;
  contextTokens: number;
  /** Largest difference of the self-test's logits from the pinned ones, and what is allowed. */
  selfTest: { maxDelta: number; tolerance: number };
  tokensPerSecond: number | null;
  /** The package's own confidence threshold, 0 to 1. */
  defaultThreshold: number;
  /** The CWE ids the model can report. */
  labels: string[];
  /** Whether the model answers in words, and so can be asked for its own. */
  speaks: boolean;
  card: ModelCard;
}

export interface Progress {
  stage: "device" | "weights" | "self-test" | "units";
  done: number;
  total: number;
  label: string;
}

export interface AnalyzeOptions {
  /** Report at this confidence or more; null for the package's own thresholds. */
  threshold: number | null;
  /** Report only these CWE ids; null for all. */
  cwes: string[] | null;
}

export interface GenerateOptions {
  /** Tokens at most. */
  maxTokens: number;
  /** 0 takes the likeliest token each time. */
  temperature: number;
  /** Draws from the likeliest tokens that together have this probability, 0 to 1. */
  topP: number;
  seed: number;
}

/** What the model said when nothing held it to its answers. */
export interface Generated {
  text: string;
  tokens: number;
  end: "stop" | "length" | "cancelled";
  /** Name of the unit that it was shown. */
  unit: string;
}

export interface SourceFile {
  name: string;
  /** May hold lone surrogates: the engine reads each as U+FFFD, so offsets stay. */
  text: string;
}

/** What every promise of the engine rejects with, and every throwing call throws. */
export interface EngineError {
  kind: string;
  message: string;
}

export type ExportFormat = "sarif" | "json" | "markdown";

/** How the matrices of a package are stored. */
export type Precision = "f32" | "f16" | "q8" | "q4";

/** What one precision of a model asks of the machine; sizes are bytes. */
export interface Requirement {
  precision: Precision;
  /** Whether the package is stored in it. */
  stored: boolean;
  /** The files of the package, or the size of the tensors where it would have to be made again. */
  packageBytes: number;
  /** On the device, the cache for a full context and what one pass computes included. */
  deviceBytes: number;
  /** In the engine's memory beside it. On the processor, both are the same memory. */
  hostBytes: number;
  /** In the engine's memory for as long as the package is loaded. */
  loadingBytes: number;
  /** The largest single buffer on the device. */
  largestBufferBytes: number;
}

/** A package as its `model.json` describes it. */
export interface PackageSummary {
  modelId: string;
  /** SHA-256 of `model.json`, hexadecimal: it names the whole package. */
  modelHash: string;
  parameters: number;
  contextTokens: number;
  /** The CWE ids the model can report. */
  labels: string[];
  card: ModelCard;
  /** The tokenizer, then the shards. */
  files: ShardInfo[];
  /** As stored, then the precisions that the package could be made in instead. */
  requirements: Requirement[];
}

/** Checks a `model.json` and says what it describes. Needs no device. Throws what `Engine.create` would reject with. */
export declare function inspect(manifest: Uint8Array): PackageSummary;

export declare class Engine {
  private constructor();

  /** Asks the adapter first; rejects with kind `no-webgpu` and the true reason. */
  static create(
    manifest: Uint8Array,
    backend: Backend,
    onProgress: (progress: Progress) => void,
  ): Promise<Engine>;

  shards(): ShardInfo[];

  /** Verifies size and SHA-256, then uploads the tensors and lets the bytes go. */
  addShard(index: number, bytes: Uint8Array): void;

  /** Builds the model and runs the self-test; rejects with kind `self-test` when it differs. */
  finish(onProgress: (progress: Progress) => void): Promise<Info>;

  /** Judges each unit; units whose text did not change since the last call are not run again. */
  analyze(
    files: SourceFile[],
    options: AnalyzeOptions,
    onProgress: (progress: Progress) => void,
  ): Promise<Analysis>;

  /**
   * Shows the model the unit that holds a line (1-based) of a file, and lets it speak; `onWords` takes each piece.
   * Nothing checks these words.
   */
  generate(
    file: SourceFile,
    line: number,
    options: GenerateOptions,
    onWords: (piece: string) => void,
  ): Promise<Generated>;

  /** The running `analyze` or `generate` resolves soon: an analysis with `cancelled: true`. */
  cancel(): void;

  info(): Info;

  export(analysis: Analysis, files: SourceFile[], format: ExportFormat): string;

  free(): void;
}
