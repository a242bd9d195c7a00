import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { analysed, BACKEND, EVERYTHING, launch, open, paste, ready, until } from "./support.mjs";

const TEXT = "def run(code):\n    return eval(code)\n";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/** Ends the worker from inside, as a crash of its process does: no event reaches the page. */
async function kill(page) {
  const worker = page.workers().at(-1);
  await worker.evaluate(() => self.close()).catch(() => {});
  await until(page, "the page to notice", () => document.querySelector("#engine").dataset.phase !== "ready");
}

describe(`a worker that dies on ${BACKEND}`, () => {
  let page;
  const requests = [];
  before(async () => {
    page = await open(browser, { settings: EVERYTHING });
    page.context().on("request", (request) => requests.push(request.url()));
    await analysed(page, () => paste(page, TEXT));
  });
  after(() => page?.context().close());

  test("is started again on the same device, without the network; the text stays", async () => {
    await kill(page);
    assert.equal(await ready(page), BACKEND);
    assert.match(await page.locator("#engine-note").innerText(), /stopped.+started again.+text is unchanged/);
    assert.match(await page.locator(".cm-content").innerText(), /return eval\(code\)/);
    const { findings } = await analysed(page, () =>
      page.getByRole("button", { name: "Analyse now" }).click(),
    );
    assert.ok(findings > 0);
    assert.deepEqual(
      requests.filter((url) => !url.startsWith("blob:")),
      [],
    );
  });

  test("a second time: the GPU gives way to the processor, the processor to a clear end", async () => {
    await kill(page);
    if (BACKEND === "webgpu") {
      assert.equal(await ready(page), "cpu");
      assert.match(await page.locator("#engine-note").innerText(), /on the processor/);
      return;
    }
    await until(page, "the end", () => document.querySelector("#engine").dataset.phase === "failed");
    assert.match(await page.locator("#engine-note").innerText(), /Your text is kept\. Press “Start again”/);
    await page.getByRole("button", { name: "Start again" }).click();
    assert.equal(await ready(page), "cpu");
    assert.match(await page.locator(".cm-content").innerText(), /return eval\(code\)/);
  });
});
