// The model and the tokenizer as WebAssembly against PyTorch's logits and the native tokenizer, in a worker as in the page.
//
// CLOISTER_PARITY  the folder with the parity module (cargo xtask test builds it)
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { BACKEND, launch, PATIENCE_MS, siteUrl } from "./support.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const FIXTURES = ["partial_rotary", "full_rotary", "many_heads"];
/** Bounds on |Δlogit| for f32 on the processor and on the GPU. */
const TOLERANCE = BACKEND === "webgpu" ? 1e-3 : 1e-4;
const WORKER = `
importScripts("cloister_parity.js");
let parity;
onmessage = async ({ data: { id, op, args } }) => {
  try {
    if (op === "create") {
      await wasm_bindgen({ module_or_path: "cloister_parity_bg.wasm" });
      parity = await wasm_bindgen.Parity.create(args[0]);
      postMessage({ id, value: null });
    } else {
      postMessage({ id, value: await parity[op](...args) });
    }
  } catch (error) {
    postMessage({ id, error: String(error) });
  }
};`;

let browser;
let page;

before(async () => {
  const folder = process.env.CLOISTER_PARITY;
  assert.ok(folder, 'CLOISTER_PARITY is not set: run "cargo xtask test"');
  browser = await launch();
  page = await browser.newPage();
  const base = new URL("parity/", siteUrl()).href;
  // The site does not hold the module: these answers stand in for a folder of it.
  await page.route(`${base}**`, async (route) => {
    const name = new URL(route.request().url()).pathname.split("/").pop();
    if (name === "") return route.fulfill({ contentType: "text/html", body: "<!doctype html><title>parity</title>" });
    if (name === "worker.js") return route.fulfill({ contentType: "text/javascript", body: WORKER });
    const file = name.endsWith(".safetensors")
      ? path.join(ROOT, "tests/fixtures/codegen", name)
      : path.join(folder, name);
    const contentType = name.endsWith(".wasm") ? "application/wasm" : "text/javascript";
    return route.fulfill({ contentType, body: await readFile(file) });
  });
  await page.goto(base);
  await page.evaluate(() => {
    const worker = new Worker("worker.js");
    const waiting = new Map();
    let next = 0;
    worker.onmessage = ({ data }) => {
      const { resolve, reject } = waiting.get(data.id);
      if (data.error) reject(new Error(data.error));
      else resolve(data.value);
    };
    window.call = (op, ...args) =>
      new Promise((resolve, reject) => {
        waiting.set(++next, { resolve, reject });
        worker.postMessage({ id: next, op, args });
      });
  });
  await page.evaluate((backend) => window.call("create", backend), BACKEND);
});

after(() => browser?.close());

for (const name of FIXTURES) {
  test(`logits of ${name} equal the reference`, { timeout: PATIENCE_MS }, async () => {
    const delta = await page.evaluate(async (file) => {
      const bytes = await (await fetch(file)).arrayBuffer();
      return window.call("delta", new Uint8Array(bytes));
    }, `${name}.safetensors`);
    assert.ok(delta <= TOLERANCE, `largest difference ${delta}, allowed ${TOLERANCE}`);
    assert.ok(delta > 0, "a difference of exactly 0 means that nothing was compared");
  });
}

for (const name of FIXTURES) {
  for (const bits of [8, 4]) {
    test(`matrices of ${name} in ${bits} bits are multiplied as they are`, { timeout: PATIENCE_MS }, async () => {
      const delta = await page.evaluate(
        async ([file, bits]) => {
          const bytes = await (await fetch(file)).arrayBuffer();
          return window.call("packedDelta", new Uint8Array(bytes), bits);
        },
        [`${name}.safetensors`, bits],
      );
      assert.ok(delta <= TOLERANCE, `largest difference ${delta}, allowed ${TOLERANCE}`);
      assert.ok(delta > 0, "a difference of exactly 0 means that nothing was compared");
    });
  }
}

test("the tokenizer gives the ids that it gives natively", async () => {
  const tokenizer = [...(await readFile(path.join(ROOT, "assets/model/tokenizer.json")))];
  const cases = JSON.parse(await readFile(path.join(ROOT, "tests/fixtures/tokenizer/native.json"), "utf8"));
  assert.ok(cases.length >= 20);
  for (const { text, ids } of cases) {
    const found = await page.evaluate(
      async ([bytes, code]) => {
        const ids = await window.call("encode", new Uint8Array(bytes), code);
        return { ids: [...ids], text: await window.call("decode", new Uint8Array(bytes), ids) };
      },
      [tokenizer, text],
    );
    assert.deepEqual(found.ids, ids, JSON.stringify(text));
    assert.equal(found.text, text);
  }
});
