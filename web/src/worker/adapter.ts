import type { Adapter } from "../engine/protocol.ts";

/** Software adapters by what they call themselves, for browsers that do not set `isFallbackAdapter`. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softpipe|microsoft basic render/i;

/**
 * Asks for a GPU adapter without taking a device. `timestamp-query` is asked for because the engine's GPU
 * runtime cannot start without it.
 */
export async function askAdapter(): Promise<Adapter> {
  if (!("gpu" in navigator) || !navigator.gpu) {
    return no(
      isSecureContext
        ? "this browser offers no WebGPU to workers"
        : "this address is plain http, and browsers offer WebGPU only on https, localhost and files",
    );
  }
  let adapter: GPUAdapter | null;
  try {
    adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  } catch (error) {
    return no(
      `the browser refused a GPU adapter (${error instanceof Error ? error.message : String(error)})`,
    );
  }
  if (!adapter) return no("the browser found no GPU that it trusts with WebGPU");
  if (!adapter.features.has("timestamp-query")) {
    return no("the GPU adapter lacks the feature timestamp-query, which the engine needs");
  }
  const { info } = adapter;
  const name = [info.vendor, info.architecture, info.device, info.description].filter(Boolean).join(" ");
  const software = info.isFallbackAdapter === true || SOFTWARE.test(name);
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  const limits = { maxBufferSize, maxStorageBufferBindingSize };
  return { available: true, software, name: name || "unnamed adapter", limits };
}

function no(reason: string): Adapter {
  return { available: false, reason };
}
