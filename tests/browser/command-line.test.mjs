// The page on the CPU and the command line give the same findings on the same files: one engine, two builds.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { analysed, CPU_ONLY, EVERYTHING, launch, open, openSample, paste, save } from "./support.mjs";

// Both add up the same products in another order: the vector units of the two builds differ.
const CONFIDENCE_TOLERANCE = 1e-3;

const ODD_TEXTS = {
  "tabs and characters outside the BMP": "import os\n\ndef run(name):\n\tlabel = '😀'; os.system('ls ' + name)\n",
  "a syntax error beside a sound function": "def broken(:\n    pass\n\ndef load(data):\n    return eval(data)\n",
};

/** What the command line finds in files, given as [name, text]. */
async function commandLine(files) {
  const program = process.env.CLOISTER_CLI;
  if (!program) throw new Error('CLOISTER_CLI is not set. Run "cargo xtask test".');
  const folder = await mkdtemp(join(tmpdir(), "cloister-"));
  try {
    for (const [name, text] of files) await writeFile(join(folder, name), text);
    const names = files.map(([name]) => name);
    const model = new URL("../../assets/model", import.meta.url).pathname;
    const options = ["--package", model, "--device", "cpu", "--threshold", String(EVERYTHING.threshold)];
    const output = await new Promise((resolve, reject) => {
      const report = ["--format", "json"];
      execFile(program, ["scan", ...names, ...report, ...options], { cwd: folder }, (error, stdout, stderr) => {
        // 1 says that something was found.
        if (error && error.code !== 1) reject(new Error(`${error.message}\n${stderr}`));
        else resolve(stdout);
      });
    });
    return JSON.parse(output);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The part of a report that is about one file. */
function about(name, { findings, units, notices, model }) {
  const of = (things) => things.filter(({ file }) => file === name);
  return { findings: of(findings), units: of(units), notices: of(notices), model };
}

/** A report without what differs by nature: times, counts of this run, and the last digits of probabilities. */
function comparable({ findings, units, notices, model }) {
  const confidences = findings.map(({ confidence }) => confidence);
  const safe = units.map((unit) => unit.safe);
  return {
    rest: {
      findings: findings.map(({ confidence, ...rest }) => rest),
      units: units.map(({ safe, cached, top, ...rest }) => ({ ...rest, first: top[0].cwe })),
      notices,
      model,
    },
    probabilities: [...confidences, ...safe],
  };
}

function assertSame(page, native) {
  const [a, b] = [comparable(page), comparable(native)];
  assert.deepEqual(a.rest, b.rest);
  a.probabilities.forEach((value, index) => {
    const other = b.probabilities[index];
    assert.ok(Math.abs(value - other) <= CONFIDENCE_TOLERANCE, `${value} in the page, ${other} in the command line`);
  });
}

describe("the page and the command line", CPU_ONLY, () => {
  let browser;
  let page;
  before(async () => {
    browser = await launch();
    page = await open(browser, { settings: EVERYTHING });
  });
  after(() => browser?.close());

  const report = async () => JSON.parse((await save(page, "Save as JSON")).text);

  test("agree on every sample", async () => {
    const names = await page.locator("#samples option").evaluateAll((options) =>
      options.map(({ value }) => value).filter((value) => value.endsWith(".py")),
    );
    assert.ok(names.length >= 12, `${names.length} samples`);
    const sample = (name) => readFile(new URL(`../../web/src/samples/${name}`, import.meta.url), "utf8");
    const native = await commandLine(await Promise.all(names.map(async (name) => [name, await sample(name)])));
    assert.ok(native.findings.length > 0, "nothing is found in any sample, so that nothing would be compared");
    for (const name of names) {
      await analysed(page, () => openSample(page, name));
      assertSame(about(name, await report()), about(name, native));
    }
  });

  for (const [what, text] of Object.entries(ODD_TEXTS)) {
    test(`agree on ${what}`, async () => {
      const fresh = await open(browser, { settings: EVERYTHING });
      page = fresh;
      await analysed(fresh, () => paste(fresh, text));
      const whole = await report();
      const [name] = whole.files;
      assertSame(whole, await commandLine([[name, text]]));
    });
  }
});
