// Prefill in one Chromium: the engine through the site's own worker, against onnxruntime-web, in turns.
import { checked, inTurns } from "./statistics.mjs";

const CONTENDERS = {
  cpu: [
    { name: "Cloister (burn flex)", precision: "f32", ours: true, kind: "cloister", backend: "cpu" },
    { name: "onnxruntime-web", precision: "f32", kind: "onnxruntime", provider: "wasm" },
    { name: "onnxruntime-web", precision: "int8", kind: "onnxruntime", provider: "wasm" },
  ],
  webgpu: [
    { name: "Cloister (burn wgpu)", precision: "f32", ours: true, kind: "cloister", backend: "webgpu" },
    { name: "onnxruntime-web", precision: "f32", kind: "onnxruntime", provider: "webgpu" },
  ],
};

export async function measurePrefill(browser, url, device, { prefix, prompts }, counts) {
  const page = await browser.newPage();
  await page.goto(url);
  const contenders = [];
  for (const [index, facts] of CONTENDERS[device].entries()) {
    contenders.push(await start(page, index, facts));
  }
  const results = await inTurns(contenders, counts, ({ facts, index }, round) => {
    const { text, ids } = prompts[round];
    // Ours has read the prefix already and is given a source; the others read as many tokens without it.
    const question = facts.ours ? { text, tokens: ids.length } : { ids: ids.slice(prefix) };
    return page.evaluate(([at, asked]) => window.engines.prefill(at, asked), [index, question]);
  });
  await page.close();
  return results;
}

async function start(page, index, facts) {
  try {
    const started = await page.evaluate(([at, wanted]) => window.engines.start(at, wanted), [index, facts]);
    return checked({ ...facts, ...started }, { index });
  } catch (error) {
    return { index, facts, error: error.message };
  }
}
