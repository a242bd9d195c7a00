import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { analysed, CPU_ONLY, EVERYTHING, fromWeb, launch, open, openSample } from "./support.mjs";

const axe = fromWeb("axe-core");
const SHIPPED_MANIFEST = new URL("../../assets/model/model.json", import.meta.url);

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/** What axe holds to be serious or critical, as lines that name rule and element. */
async function seriousFaults(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => window.axe.run(document));
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .flatMap(({ id, nodes }) =>
      nodes.map(({ target, failureSummary }) => `${id} at ${target}: ${failureSummary}`),
    );
}

for (const colorScheme of ["light", "dark"]) {
  for (const width of [1280, 360]) {
    describe(`${colorScheme}, ${width} px wide`, CPU_ONLY, () => {
      let page;
      before(async () => {
        const settings = { ...EVERYTHING, editor: width === 360 ? "plain" : "code" };
        page = await open(browser, { settings, colorScheme, viewport: { width, height: 800 } });
      });
      after(() => page?.context().close());

      test("axe finds nothing serious: empty, with findings, with settings, in the dialogs", async () => {
        assert.deepEqual(await seriousFaults(page), [], "empty");
        await analysed(page, () => openSample(page, "notes_service.py"));
        await page
          .getByRole("button", { name: /^Explain/ })
          .first()
          .click();
        await page.locator(".units summary").click();
        assert.deepEqual(await seriousFaults(page), [], "with findings");
        await page.getByRole("button", { name: "Settings" }).click();
        assert.deepEqual(await seriousFaults(page), [], "with settings");
        await page.getByRole("button", { name: "Model card" }).click();
        assert.deepEqual(await seriousFaults(page), [], "model card");
        await page.keyboard.press("Escape");
        await page.getByRole("button", { name: /how do I check this/ }).click();
        assert.deepEqual(await seriousFaults(page), [], "how to check");
        await page.keyboard.press("Escape");
        await page.getByRole("button", { name: "Models", exact: true }).click();
        await page.locator("#models-files-input").setInputFiles(fileURLToPath(SHIPPED_MANIFEST));
        await page.getByRole("button", { name: "Load this model" }).waitFor();
        assert.deepEqual(await seriousFaults(page), [], "models");
        await page.keyboard.press("Escape");
      });

      test("nothing sticks out sideways", async () => {
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(overflow <= 0, `${overflow} px too wide`);
      });
    });
  }
}

describe("keyboard and screen reader", CPU_ONLY, () => {
  let page;
  before(async () => {
    page = await open(browser, { settings: EVERYTHING });
  });
  after(() => page?.context().close());

  test("the editor has a name, and results are announced", async () => {
    await page.getByRole("textbox", { name: "Python source of untitled.py" }).waitFor();
    const { findings } = await analysed(page, () => openSample(page, "formula_column.py"));
    const status = page.getByRole("status");
    await status.filter({ hasText: `${findings} finding` }).waitFor({ state: "attached" });
  });

  test("Tab indents in the editor; Esc, then Tab leaves it", async () => {
    await page.locator(".cm-content").click();
    const inEditor = () => page.evaluate(() => document.activeElement?.closest("#editor") !== null);
    await page.keyboard.press("Tab");
    assert.equal(await inEditor(), true);
    await page.keyboard.press("Escape");
    await page.keyboard.press("Tab");
    assert.equal(await inEditor(), false);
  });

  test("every control can be reached by Tab", async () => {
    await page.evaluate(() => document.activeElement?.blur());
    const reached = new Set();
    for (let i = 0; i < 60; i += 1) {
      await page.keyboard.press("Escape");
      await page.keyboard.press("Tab");
      reached.add(await page.evaluate(() => document.activeElement?.id || document.activeElement?.className));
    }
    for (const id of [
      "open",
      "samples",
      "run",
      "settings-button",
      "new-file",
      "finding-head",
      "explain",
      "tab-name",
    ]) {
      assert.ok(reached.has(id), `${id} was not reached: ${[...reached].join(", ")}`);
    }
  });
});
