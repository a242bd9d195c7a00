/// <reference path="./glue.d.ts" />
// The worker's side: holds the engine, does one request after the other, and says when it breaks. The page
// puts the wasm-bindgen glue in front of this script (see engine/assets.ts).

import type { Engine, EngineError, Progress } from "../../../crates/cloister-wasm/src/types.ts";
import {
  FATAL_KINDS,
  type FromWorker,
  type Request,
  type Requests,
  type ToWorker,
} from "../engine/protocol.ts";
import { askAdapter } from "./adapter.ts";

let engine: Engine | undefined;
/** The engine is borrowed for as long as a call runs, so calls wait for each other. */
let queue: Promise<void> = Promise.resolve();

function post(message: FromWorker): void {
  self.postMessage(message);
}

self.addEventListener("message", ({ data }: MessageEvent<ToWorker>) => {
  if (data.type === "ping") {
    post({ type: "pong" });
  } else if (data.op === "cancel") {
    // Out of turn, or it would wait for the very call that it is to end.
    void answer(data);
  } else {
    queue = queue.then(() => answer(data));
  }
});

// A panic inside a future never settles its promise: it surfaces here only.
self.addEventListener("error", (event) => post({ type: "crashed", message: event.message }));
self.addEventListener("unhandledrejection", (event) => {
  post({ type: "crashed", message: asError(event.reason).message });
});

async function answer(request: Request): Promise<void> {
  const { id } = request;
  try {
    post({ type: "reply", id, ok: true, value: await perform(request) });
  } catch (thrown) {
    const error = asError(thrown);
    post({ type: "reply", id, ok: false, error });
    if (FATAL_KINDS.includes(error.kind)) post({ type: "crashed", message: error.message });
  }
}

async function perform(request: Request): Promise<Requests[Request["op"]]["out"]> {
  const onProgress = (progress: Progress) => post({ type: "progress", id: request.id, progress });
  switch (request.op) {
    case "probe":
      return askAdapter();
    case "inspect":
      await wasm_bindgen({ module_or_path: request.args.wasm });
      return wasm_bindgen.inspect(new Uint8Array(request.args.manifest));
    case "create": {
      const { wasm, manifest, backend } = request.args;
      await wasm_bindgen({ module_or_path: wasm });
      engine = await wasm_bindgen.Engine.create(new Uint8Array(manifest), backend, onProgress);
      return engine.shards();
    }
    case "shard":
      ready().addShard(request.args.index, new Uint8Array(request.args.bytes));
      return null;
    case "finish":
      return ready().finish(onProgress);
    case "analyze":
      return ready().analyze(request.args.files, request.args.options, onProgress);
    case "generate": {
      const { file, line, options } = request.args;
      const onWords = (piece: string) => post({ type: "words", id: request.id, piece });
      return ready().generate(file, line, options, onWords);
    }
    case "cancel":
      engine?.cancel();
      return null;
    case "export":
      return ready().export(request.args.analysis, request.args.files, request.args.format);
  }
}

function ready(): Engine {
  if (engine) return engine;
  const error: EngineError = { kind: "not-created", message: "The engine was called before it was created." };
  throw error;
}

/** Errors of the engine carry a kind; anything else is a trap or a fault of the browser, and is fatal. */
function asError(thrown: unknown): EngineError {
  if (typeof thrown === "object" && thrown !== null && "kind" in thrown && "message" in thrown) {
    return { kind: String(thrown.kind), message: String(thrown.message) };
  }
  const message = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return { kind: "crashed", message };
}
