// onnxruntime-web in a worker, on one thread, behind the same protocol as the engine's own worker.

let session;

const operations = {
  async create({ base, model, provider }) {
    importScripts(`${base}${provider === "webgpu" ? "ort.webgpu.min.js" : "ort.wasm.min.js"}`);
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = base;
    session = await ort.InferenceSession.create(model, {
      executionProviders: [provider],
      graphOptimizationLevel: "all",
    });
    return ort.env.versions.web;
  },
  async run({ ids }) {
    const { logits } = await session.run({ ids: new ort.Tensor("int32", Int32Array.from(ids), [1, ids.length]) });
    return logits.data;
  },
};

self.addEventListener("message", async ({ data: { id, op, args } }) => {
  try {
    self.postMessage({ type: "reply", id, ok: true, value: await operations[op](args) });
  } catch (error) {
    self.postMessage({ type: "reply", id, ok: false, error: { message: error.message ?? String(error) } });
  }
});
