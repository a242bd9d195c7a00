// What a browser has to fetch. Everything is compressed here with the settings of `cargo xtask build`, so that the
// comparison does not hang on how a folder was built.
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import { WORK } from "./options.mjs";
import { ONNXRUNTIME } from "./server.mjs";

const LEVEL = 9;
const BROTLI = {
  params: { [constants.BROTLI_PARAM_QUALITY]: LEVEL, [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS },
};
/** What does not shrink at least to this is sent as it is. */
const WORTH_IT = 0.95;

export async function measureSizes(site, exported) {
  const inSite = await filesBelow(site);
  const engine = inSite.filter((file) => file.endsWith(".wasm"));
  const model = inSite.filter((file) => path.relative(site, file).startsWith(`model${path.sep}`));
  const page = inSite.filter((file) => !engine.includes(file) && !model.includes(file));
  const runtime = (...names) => names.map((name) => path.join(ONNXRUNTIME, name));
  const rows = [
    ["Cloister, engine (WebAssembly, both devices)", engine],
    ["Cloister, page (scripts, styles, document)", page],
    ["Cloister, model package", model],
    ["onnxruntime-web, wasm only", runtime("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")],
    [
      "onnxruntime-web, with WebGPU",
      runtime("ort.webgpu.min.js", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
    ],
    ["ONNX model, f32", [path.join(WORK, exported.models.f32.file)]],
    ["ONNX model, int8", [path.join(WORK, exported.models.int8.file)]],
  ];
  return Promise.all(rows.map(async ([name, files]) => ({ name, ...(await bytes(files)) })));
}

async function bytes(files) {
  const sum = { raw: 0, gzip: 0, brotli: 0 };
  for (const file of files) {
    const content = await readFile(file);
    const sent = (packed) => (packed.length <= content.length * WORTH_IT ? packed.length : content.length);
    sum.raw += content.length;
    sum.gzip += sent(await promisify(gzip)(content, { level: LEVEL }));
    sum.brotli += sent(await promisify(brotliCompress)(content, BROTLI));
  }
  return sum;
}

/** All files but the compressed forms that stand beside them. */
async function filesBelow(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath ?? entry.path, entry.name));
  return files.filter((file) => !/\.(br|gz)$/.test(file));
}
