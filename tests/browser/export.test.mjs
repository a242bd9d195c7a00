import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { analysed, CPU_ONLY, EVERYTHING, fromWeb, launch, open, openSample, save } from "./support.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/** Checks against the published SARIF 2.1.0 schema; returns what it objects to. */
async function sarifFaults(log) {
  const Ajv = fromWeb("ajv-draft-04").default;
  const addFormats = fromWeb("ajv-formats").default;
  const path = fromWeb.resolve("@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json");
  // One pattern of the published schema is not valid in the stricter Unicode mode.
  const ajv = new Ajv({ allErrors: true, strict: false, unicodeRegExp: false });
  addFormats(ajv);
  const validate = ajv.compile(JSON.parse(await readFile(path, "utf8")));
  return validate(log)
    ? []
    : validate.errors.map(({ instancePath, message }) => `${instancePath} ${message}`);
}

describe("export", CPU_ONLY, () => {
  let page;
  let findings;
  before(async () => {
    page = await open(browser, { settings: EVERYTHING });
    await openSample(page, "book_search.py");
    ({ findings } = await analysed(page, () => openSample(page, "thumbnails.py")));
  });
  after(() => page?.context().close());

  test("SARIF is valid by its schema and holds each finding with its place", async () => {
    const { name, text } = await save(page, "Save as SARIF");
    assert.equal(name, "cloister.sarif");
    const log = JSON.parse(text);
    assert.deepEqual(await sarifFaults(log), []);
    const { results, tool } = log.runs[0];
    assert.equal(results.length, findings);
    for (const { ruleId, locations } of results) {
      assert.match(ruleId, /^CWE-\d+$/);
      const { region, artifactLocation } = locations[0].physicalLocation;
      assert.ok(region.startLine >= 1 && region.startColumn >= 1);
      assert.match(artifactLocation.uri, /\.py$/);
    }
    const rules = new Set(tool.driver.rules.map(({ id }) => id));
    assert.ok(results.every(({ ruleId }) => rules.has(ruleId)));
  });

  test("JSON parses and holds each finding", async () => {
    const { name, text } = await save(page, "Save as JSON");
    assert.equal(name, "cloister.json");
    assert.equal(JSON.parse(text).findings.length, findings);
  });

  test("Markdown names each class that was found", async () => {
    const { name, text } = await save(page, "Save as Markdown");
    assert.equal(name, "cloister.md");
    for (const cwe of new Set(await page.locator(".finding-title b").allInnerTexts())) {
      assert.ok(text.includes(cwe), `${cwe} is missing`);
    }
  });
});
