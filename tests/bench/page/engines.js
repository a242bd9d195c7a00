// Starts the engines that are compared, each in a worker of its own, and times them from here: from the question to
// the answer, messages included.

const engines = [];

window.engines = {
  /** Loads one and computes the package's self-test; says its version and the largest difference to the pinned logits. */
  async start(index, { kind, backend, provider, precision }) {
    const [engine, facts] =
      kind === "cloister" ? await startCloister(backend) : await startOnnxruntime(provider, precision);
    engines[index] = engine;
    return facts;
  },

  /** Milliseconds of one prefill. */
  async prefill(index, question) {
    const start = performance.now();
    const check = await engines[index](question);
    const millis = performance.now() - start;
    check?.();
    return millis;
  },
};

/** The site's own worker files, driven as the page drives them. */
async function startCloister(backend) {
  const glue = await fetched("../site/cloister_wasm.js");
  const script = await fetched("../site/worker.js");
  const url = URL.createObjectURL(new Blob([glue, "\n", script], { type: "text/javascript" }));
  const request = connect(new Worker(url));
  const wasm = await fetched("../site/cloister_wasm_bg.wasm");
  const manifest = await fetched("../site/model/model.json");
  const shards = await request("create", { wasm, manifest, backend });
  for (const [index, { file }] of shards.entries()) {
    await request("shard", { index, bytes: await fetched(`../site/model/${file}`) });
  }
  const info = await request("finish", {});
  const prefill = async ({ text, tokens }) => {
    const files = [{ name: "benchmark.py", text }];
    const analysis = await request("analyze", { files, options: { threshold: null, cwes: null } });
    return () => {
      // An answer from the cache, or a source that was cut otherwise, would be another measurement.
      if (analysis.tokens === tokens && analysis.unitsRun === 1) return;
      throw new Error(`${analysis.tokens} tokens in ${analysis.unitsRun} units were read instead of ${tokens} in 1`);
    };
  };
  return [prefill, { adapter: info.adapter, difference: info.selfTest.maxDelta }];
}

async function startOnnxruntime(provider, precision) {
  const request = connect(new Worker("onnxruntime-worker.js"));
  const base = new URL("../onnxruntime/", location.href).href;
  const model = new URL(`../models/model-${precision}.onnx`, location.href).href;
  const version = await request("create", { base, model, provider });
  const { selfTest } = await (await fetch("../site/model/model.json")).json();
  const logits = await request("run", { ids: selfTest.tokens });
  const difference = Math.max(...selfTest.logits.map((pinned, label) => Math.abs(pinned - logits[label])));
  const prefill = async ({ ids }) => void (await request("run", { ids }));
  return [prefill, { version, difference }];
}

async function fetched(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path} is missing (HTTP ${response.status}): build the page again`);
  return response.arrayBuffer();
}

/** A function that asks a worker; both workers speak the protocol of web/src/engine/protocol.ts. */
function connect(worker) {
  const waiting = new Map();
  let next = 0;
  const fail = (message) => {
    for (const { reject } of waiting.values()) reject(new Error(message));
    waiting.clear();
  };
  worker.addEventListener("error", (event) => fail(event.message || "the worker could not be loaded"));
  worker.addEventListener("message", ({ data }) => {
    if (data.type === "crashed") fail(data.message);
    if (data.type !== "reply") return;
    const { resolve, reject } = waiting.get(data.id) ?? {};
    waiting.delete(data.id);
    if (data.ok) resolve?.(data.value);
    else reject?.(new Error(data.error.message));
  });
  return (op, args) =>
    new Promise((resolve, reject) => {
      next += 1;
      waiting.set(next, { resolve, reject });
      worker.postMessage({ type: "request", id: next, op, args });
    });
}
