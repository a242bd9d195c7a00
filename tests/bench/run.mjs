// Measures what docs/PERFORMANCE.md says, and writes it. `cargo xtask bench` builds the page and starts this with
//
// CLOISTER_URL        address of the served page
// CLOISTER_DIST       the folder that is served
// CLOISTER_OPTIMISED  "no" where the engine was built without wasm-opt
// CLOISTER_PREFILL    the native program that prefills, in target/release unless set
// CHROMIUM            the browser to run, /usr/bin/chromium unless set
//
// and passes on what stands behind `--`; see options.mjs.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { openBrowser } from "./chromium.mjs";
import { firstFinding } from "./first-finding.mjs";
import { machine } from "./machine.mjs";
import { measureNative, sources } from "./native.mjs";
import { readOptions, ROOT, WORK } from "./options.mjs";
import { measurePrefill } from "./prefill.mjs";
import { exportModels, preparePython } from "./python.mjs";
import { render } from "./report.mjs";
import { startServer } from "./server.mjs";
import { measureSizes } from "./sizes.mjs";

/** Prefills before those that count: the first ones compile kernels and fill caches. */
const WARMUPS = 3;

const options = readOptions();
const started = Date.now();
const results = options.from ? JSON.parse(await readFile(options.from, "utf8")) : await measure();
await writeFile(options.output, render(results));
console.log(`\n${path.relative(ROOT, options.output)} is written, after ${seconds()} s.`);

async function measure() {
  const site = process.env.CLOISTER_DIST;
  if (!site || !process.env.CLOISTER_URL) {
    throw new Error('CLOISTER_URL and CLOISTER_DIST are not set. Run "cargo xtask bench".');
  }
  await samePackage(site);
  await mkdir(WORK, { recursive: true });
  // Everything that takes the processor for itself comes before the first measurement.
  const python = step("Prepare Python", () => preparePython(options));
  const exported = step("Write the ONNX models", () => exportModels(python.base, options.package));
  const count = Math.max(options.runs, options.gpuRuns) + WARMUPS;
  const prompts = step("Write the sources", () => sources(options.package, options.tokens, count));
  const sizes = await step("Compress", () => measureSizes(site, exported));
  const about = await machine();
  const results = { about, options: kept(options), exported, prefix: prompts.prefix, sizes };
  results.optimised = process.env.CLOISTER_OPTIMISED !== "no";
  results.model = await modelFacts();

  results.native = await step("Native prefill", () => measureNative(python, prompts, options, WARMUPS));
  const server = await startServer(site);
  const { browser, adapter } = await openBrowser(server.url);
  try {
    results.chromium = browser.version();
    results.adapter = adapter;
    const prefill = (device, runs) =>
      measurePrefill(browser, server.url, device, prompts, { warmups: WARMUPS, runs });
    results.cpu = await step("Prefill in Chromium, processor", () => prefill("cpu", options.runs));
    if (options.webgpu) {
      results.gpu = await step("Prefill in Chromium, WebGPU", () => prefill("webgpu", options.gpuRuns));
    }
    results.firstFinding = await step("First finding", () => firstFinding(browser, options.openings));
  } finally {
    await browser.close();
    server.close();
  }
  await writeFile(path.join(WORK, "results.json"), `${JSON.stringify(results, null, 2)}\n`);
  return results;
}

/** The page's package must be the one that the peers were made from. */
async function samePackage(site) {
  const [served, given] = await Promise.all(
    [path.join(site, "model"), options.package].map((folder) => readFile(path.join(folder, "model.json"), "utf8")),
  );
  if (served !== given) {
    throw new Error(`The page in ${site} has another model than ${options.package}. Build the page again.`);
  }
}

async function modelFacts() {
  const manifest = JSON.parse(await readFile(path.join(options.package, "model.json"), "utf8"));
  const { architecture, id, name, weights } = manifest;
  return { id, name, config: architecture.config, dtype: weights.dtype };
}

function kept({ tokens, torch, webgpu }) {
  return { tokens, torch, webgpu };
}

function step(name, work) {
  console.log(`[${seconds()} s] ${name}`);
  return work();
}

function seconds() {
  return Math.round((Date.now() - started) / 1000);
}
