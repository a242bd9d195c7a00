// The engine's memory must not grow with the number of analyses.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { analysed, CPU_ONLY, EVERYTHING, launch, open, paste } from "./support.mjs";

const ANALYSES = 100;
/** The first ones allocate what all later ones use again. */
const WARM_UP = 5;

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/** Bytes of the WebAssembly memory: the glue gives the same instance to whoever asks again. */
const memory = (page) =>
  page
    .workers()
    .at(-1)
    .evaluate(async () => (await wasm_bindgen()).memory.buffer.byteLength);

/** Always as long, and never the same to the model. */
const text = (n) => {
  const number = String(n).padStart(4, "0");
  const handler = (part) =>
    `def handler_${part}_${number}(connection, value_${number}):\n    return connection.execute("SELECT ${number} FROM t WHERE a = '%s'" % value_${number})\n\n`;
  return `import sqlite3\n\n${["a", "b", "c"].map(handler).join("")}`;
};

test(`${ANALYSES} analyses of changed text leave the memory as it was`, CPU_ONLY, async (context) => {
  const page = await open(browser, { settings: EVERYTHING });
  const run = async (n) => {
    const { unitsRun } = await analysed(page, () => paste(page, text(n)));
    assert.ok(unitsRun >= 3, `analysis ${n} ran ${unitsRun} units: the text was not new to the model`);
  };
  const start = await memory(page);
  for (let n = 0; n < WARM_UP; n += 1) await run(n);
  const before = await memory(page);
  for (let n = WARM_UP; n < WARM_UP + ANALYSES; n += 1) await run(n);
  const after = await memory(page);
  const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  context.diagnostic(
    `after loading ${mebibytes(start)}, after ${WARM_UP} analyses ${mebibytes(before)}, after ${ANALYSES} more ${mebibytes(after)}`,
  );
  assert.equal(after, before);
  await page.context().close();
});
