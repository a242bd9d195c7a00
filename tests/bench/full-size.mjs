// A package of any size in the page: adds it from the disk, analyses a small file, and prints one line of JSON.
//
//     cargo xtask serve                                      (in another terminal)
//     CLOISTER_URL=http://localhost:8080/ CLOISTER_BACKEND=cpu node tests/bench/full-size.mjs PACKAGE
//
// CLOISTER_BACKEND  cpu (default) or webgpu, as in the browser tests; CLOISTER_GPU=real takes the machine's own adapter
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { dialog, load, pickFolder, uses } from "../browser/models.mjs";
import { analysed, BACKEND, EVERYTHING, launch, open, paste } from "../browser/support.mjs";

const CODE = `import sqlite3


def find(connection, name):
    return connection.execute("SELECT * FROM people WHERE name = '" + name + "'").fetchall()
`;

const [folder] = process.argv.slice(2);
if (!folder) {
  console.error("give the folder of a package: node tests/bench/full-size.mjs PACKAGE");
  process.exit(2);
}
const manifest = JSON.parse(await readFile(join(folder, "model.json"), "utf8"));
const bytes = [manifest.tokenizer, ...manifest.weights.shards].reduce((sum, file) => sum + file.bytes, 0);

const browser = await launch();
try {
  const page = await open(browser, { settings: EVERYTHING });
  const looked = await pickFolder(page, folder);
  if (looked === "error") throw new Error(await page.locator("#models-error").innerText());
  const told = await dialog(page).innerText();
  let started = performance.now();
  await load(page);
  await uses(page, manifest.name);
  const loadSeconds = (performance.now() - started) / 1e3;
  await page.keyboard.press("Escape");
  started = performance.now();
  const { unitsRun } = await analysed(page, () => paste(page, CODE));
  const analysisSeconds = (performance.now() - started) / 1e3;
  const memory = await page
    .workers()
    .at(-1)
    .evaluate(async () => (await wasm_bindgen()).memory.buffer.byteLength);
  const engine = await page.locator("#engine").innerText();
  const result = { backend: BACKEND, engine, bytes, loadSeconds, analysisSeconds, unitsRun, wasmMemoryBytes: memory };
  console.log(JSON.stringify({ ...result, told: told.split("\n").filter((line) => /fit/i.test(line)) }));
} finally {
  await browser.close();
}
