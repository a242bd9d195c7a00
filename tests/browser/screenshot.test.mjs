import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { after, before, test } from "node:test";
import { analysed, CPU_ONLY, launch, open, openSample, outputPath } from "./support.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

for (const colorScheme of ["light", "dark"]) {
  test(`the ${colorScheme} picture for the README`, CPU_ONLY, async () => {
    const page = await open(browser, {
      colorScheme,
      viewport: { width: 1280, height: 800 },
      deviceScaleFactor: 1,
    });
    await analysed(page, () => openSample(page, "book_search.py"));
    const first = page.locator(".finding-head").first();
    if (await first.isVisible()) await first.click();
    const path = await outputPath(`page-${colorScheme}.png`);
    await page.screenshot({ path });
    assert.ok((await stat(path)).size > 10_000);
    await page.context().close();
  });
}
