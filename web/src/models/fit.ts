// Whether a model fits on this machine, told before anything of it is loaded. The sizes are the engine's own
// arithmetic; the limits are those of the GPU and of WebAssembly.

import type { Requirement } from "../../../crates/cloister-wasm/src/types.ts";
import type { Adapter } from "../engine/protocol.ts";
import { size } from "../text/bytes.ts";

/** What WebAssembly can address with 32 bits. */
const WASM_BYTES = 4 * 1024 ** 3;
/** Of that, for the engine itself, the tokenizer, the texts, and gaps between what is allocated and freed. */
const ROOM_BYTES = 512 * 1024 ** 2;

export interface Fit {
  /** A sentence for each precision, as stored first. */
  sentences: string[];
  /** Whether the package, as it is stored, runs on some device here. */
  runs: boolean;
  /** Why the package, as it is stored, must not be tried on the GPU; null where it may. */
  reasonAgainstGpu: string | null;
}

/** Compares what a model asks for with what is there. */
export function fit(requirements: readonly Requirement[], adapter: Adapter): Fit {
  const stored = requirements.find((requirement) => requirement.stored);
  const onGpu = stored ? againstGpu(stored, adapter) : null;
  return {
    sentences: requirements.map((requirement) => sentence(requirement, adapter)),
    runs: stored !== undefined && (onGpu === null || againstProcessor(stored) === null),
    // Without a GPU the engine has a better reason of its own.
    reasonAgainstGpu:
      onGpu !== null && adapter.available
        ? `This model does not fit on the GPU: ${onGpu}. Using the processor.`
        : null,
  };
}

function sentence(requirement: Requirement, adapter: Adapter): string {
  const { deviceBytes, hostBytes, packageBytes, precision, stored } = requirement;
  const head = stored
    ? `As it is stored (${precision}, ${size(packageBytes)})`
    : `Made again in ${precision} (${size(packageBytes)})`;
  const [gpu, processor] = [againstGpu(requirement, adapter), againstProcessor(requirement)];
  const needs = {
    gpu: `the GPU (${size(deviceBytes)} there)`,
    processor: `the processor (${size(deviceBytes + hostBytes)} of memory)`,
  };
  if (gpu === null && processor === null) return `${head}: fits on ${needs.gpu} and on ${needs.processor}.`;
  if (gpu === null) return `${head}: fits on ${needs.gpu}, not on the processor: ${processor}.`;
  if (processor === null) return `${head}: fits on ${needs.processor}, not on the GPU: ${gpu}.`;
  return `${head}: does not fit. GPU: ${gpu}. Processor: ${processor}.`;
}

/** Half a sentence, or null where it fits. How much memory a GPU has, no browser tells. */
function againstGpu(requirement: Requirement, adapter: Adapter): string | null {
  if (!adapter.available) return adapter.reason;
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  const most = Math.min(maxBufferSize, maxStorageBufferBindingSize);
  if (requirement.largestBufferBytes > most) {
    return `it needs a buffer of ${size(requirement.largestBufferBytes)}, and this GPU takes ${size(most)} at most`;
  }
  return againstMemory(requirement.hostBytes + requirement.loadingBytes);
}

function againstProcessor({ deviceBytes, hostBytes, loadingBytes }: Requirement): string | null {
  return againstMemory(deviceBytes + hostBytes + loadingBytes);
}

function againstMemory(bytes: number): string | null {
  const most = WASM_BYTES - ROOM_BYTES;
  return bytes > most ? `it needs ${size(bytes)} of memory, and a page can give it ${size(most)}` : null;
}
