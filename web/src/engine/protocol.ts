// What the page and the worker say to each other. Each request has a number, and gets one reply with it.

import type {
  Analysis,
  AnalyzeOptions,
  Backend,
  EngineError,
  ExportFormat,
  Generated,
  GenerateOptions,
  Info,
  PackageSummary,
  Progress,
  ShardInfo,
  SourceFile,
} from "../../../crates/cloister-wasm/src/types.ts";

/** What the worker sees of WebGPU: it is the one that will use it. */
export type Adapter =
  | { available: true; software: boolean; name: string; limits: AdapterLimits }
  /** `reason` is a sentence. */
  | { available: false; reason: string };

/** Bytes; named as in WebGPU. */
export interface AdapterLimits {
  maxBufferSize: number;
  maxStorageBufferBindingSize: number;
}

export interface Requests {
  probe: { in: Record<never, never>; out: Adapter };
  inspect: { in: { wasm: ArrayBuffer; manifest: ArrayBuffer }; out: PackageSummary };
  create: {
    in: { wasm: ArrayBuffer; manifest: ArrayBuffer; backend: Backend };
    out: ShardInfo[];
  };
  shard: { in: { index: number; bytes: ArrayBuffer }; out: null };
  finish: { in: Record<never, never>; out: Info };
  analyze: { in: { files: SourceFile[]; options: AnalyzeOptions }; out: Analysis };
  generate: { in: { file: SourceFile; line: number; options: GenerateOptions }; out: Generated };
  cancel: { in: Record<never, never>; out: null };
  export: { in: { analysis: Analysis; files: SourceFile[]; format: ExportFormat }; out: string };
}

export type Operation = keyof Requests;

export type Request = {
  [Op in Operation]: { type: "request"; id: number; op: Op; args: Requests[Op]["in"] };
}[Operation];

export type ToWorker = Request | { type: "ping" };

export type FromWorker =
  | { type: "reply"; id: number; ok: true; value: unknown }
  | { type: "reply"; id: number; ok: false; error: EngineError }
  | { type: "progress"; id: number; progress: Progress }
  | { type: "words"; id: number; piece: string }
  | { type: "pong" }
  /** The instance is not to be used again: a panic, a trap, a lost device. */
  | { type: "crashed"; message: string };

/** Kinds of EngineError that lie in the files of the model: no other device will take them. */
export const PACKAGE_KINDS: readonly string[] = [
  "assets",
  "cancelled",
  "not-json",
  "manifest-too-large",
  "unknown-schema",
  "unknown-architecture",
  "unknown-quantization",
  "manifest",
  "missing-file",
  "io",
  "truncated",
  "too-long",
  "wrong-hash",
  "shard",
  "tensor",
  "model",
];

/** Kinds of EngineError after which the worker must be replaced. */
export const FATAL_KINDS: readonly string[] = ["crashed", "device-lost", "panic"];
