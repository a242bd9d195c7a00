// Models that the user adds, and the way back.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import {
  dialog,
  giveAddress,
  load,
  message,
  OWN,
  openDialog,
  PATH,
  pickFiles,
  pickFolder,
  serve,
  TEXT,
  uses,
} from "./models.mjs";
import { makePackage } from "./packages.mjs";
import { analysed, CPU_ONLY, EVERYTHING, launch, open, paste, until } from "./support.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

describe("an added model", CPU_ONLY, () => {
  let made;
  let page;
  before(async () => {
    made = await makePackage("several");
  });
  afterEach(async () => {
    await page?.context().close();
    page = null;
  });
  after(() => made?.remove());

  test("from a folder: what it is and what fits is told first; it finds what the same weights find; and back", async () => {
    page = await open(browser, { settings: EVERYTHING });
    const own = await analysed(page, () => paste(page, TEXT));
    assert.equal(await pickFolder(page, made.folder), "found");
    const told = await page.locator("#models-found").innerText();
    assert.match(told, /Model several/);
    assert.match(told, /Stored in\s+(f16|q8|q4), \d+\.\d MB, 5 files/);
    assert.match(
      told,
      /As it is stored \(.+\): fits on the processor \(\d+\.\d MB of memory\), not on the GPU/,
    );
    assert.equal(told.match(/Made again in (f16|q8|q4) \(/g).length, 2);
    const added = await analysed(page, () => load(page));
    await uses(page, "Model several");
    assert.equal(added.findings, own.findings);
    assert.match(await message(page), /now uses “Model several”\.$/);
    await page.getByRole("button", { name: "Model card" }).click();
    assert.match(await page.locator("#card-body").innerText(), /Model several/);
    await page.keyboard.press("Escape");
    await openDialog(page);
    await dialog(page)
      .getByText(/^Model several \(.+\), \d+\.\d MB kept, in use$/)
      .waitFor();
    await analysed(page, () => page.getByRole("button", { name: "Use the page’s own model" }).click());
    await uses(page, OWN);
    assert.match(await page.locator(".cm-content").innerText(), /return eval\(code\)/);
    assert.deepEqual(page.faults, []);
    assert.deepEqual(await page.evaluate(() => window.refusals), []);
  });

  test("is there after a reload, without being chosen again, until it is removed", async () => {
    page = await open(browser);
    await pickFiles(
      page,
      ["model.json", ...made.files].map((name) => join(made.folder, name)),
    );
    await load(page);
    await uses(page, "Model several");
    await page.reload();
    await uses(page, "Model several");
    await openDialog(page);
    await page.getByRole("button", { name: "Remove Model several" }).click();
    await uses(page, OWN);
    await until(
      page,
      "the list without it",
      () => !document.querySelector("#models-list").textContent.includes("several"),
    );
    assert.deepEqual(await page.evaluate(() => caches.keys()), []);
    await page.reload();
    await uses(page, OWN);
  });

  test("by keyboard alone: found, read out from its heading, loaded, cancelled", async () => {
    page = await open(browser);
    const { release } = await serve(page, made.folder, made.files[2]);
    await page.getByRole("button", { name: "Models", exact: true }).focus();
    await page.keyboard.press("Enter");
    const focused = () =>
      page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
    for (let n = 0; n < 20 && (await focused()) !== "models-address"; n += 1)
      await page.keyboard.press("Tab");
    await page.keyboard.type(PATH);
    await page.keyboard.press("Enter");
    await until(page, "the heading", () => document.activeElement.textContent === "Model several");
    for (let n = 0; n < 5 && (await focused()) !== "Load this model"; n += 1)
      await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    const cancel = page.getByRole("button", { name: "Cancel loading" });
    await cancel.focus();
    await page.keyboard.press("Enter");
    await uses(page, OWN);
    await page.getByRole("status").filter({ hasText: "was cancelled" }).waitFor({ state: "attached" });
    release();
  });

  test("a kept model that fails as the page opens gives way to the page's own, and says so", async () => {
    page = await open(browser);
    await pickFolder(page, made.folder);
    await load(page);
    await uses(page, "Model several");
    await page.evaluate(async (name) => {
      const [cacheName] = await caches.keys();
      const cache = await caches.open(cacheName);
      const request = (await cache.keys()).find(({ url }) => url.endsWith(name));
      await cache.put(
        request,
        new Response(new Uint8Array((await (await cache.match(request)).blob()).size)),
      );
    }, made.files[2]);
    await page.reload();
    await uses(page, OWN);
    assert.match(
      await message(page),
      /“Model several” could not be used: .*SHA-256.* goes on with its own model/,
    );
    await openDialog(page);
    await dialog(page)
      .getByText(/^Model several .* kept, 4 of 5 files$/)
      .waitFor();
    await pickFolder(page, made.folder);
    await load(page);
    await uses(page, "Model several");
    await page.reload();
    await uses(page, "Model several");
  });

  test("“Clear everything” forgets it too", async () => {
    page = await open(browser);
    await pickFolder(page, made.folder);
    await load(page);
    await uses(page, "Model several");
    page.on("dialog", (question) => question.accept());
    await page.getByRole("button", { name: "Settings" }).click();
    await page.getByRole("button", { name: "Clear everything" }).click();
    await uses(page, OWN);
    assert.deepEqual(await page.evaluate(() => caches.keys()), []);
  });

  test("from the page's own server: cancelled half-way, it goes on behind the last whole file", async () => {
    page = await open(browser);
    const [, , third] = made.files;
    const { asked, release } = await serve(page, made.folder, third);
    assert.equal(await giveAddress(page, PATH), "found");
    await load(page);
    await until(page, "the third file to be loading", () =>
      /Loading the model/.test(document.querySelector("#engine-text").textContent),
    );
    while (!asked.includes(third)) await page.waitForTimeout(20);
    await page.getByRole("button", { name: "Cancel loading" }).click();
    await uses(page, OWN);
    assert.match(await message(page), /was cancelled\. What had arrived is kept/);
    await openDialog(page);
    await dialog(page)
      .getByText(/^Model several .* kept, 2 of 5 files$/)
      .waitFor();
    release();
    asked.length = 0;
    await page.getByRole("button", { name: "Go on loading Model several" }).click();
    await uses(page, "Model several");
    assert.deepEqual(asked, made.files.slice(2));
    await page.reload();
    asked.length = 0;
    await uses(page, "Model several");
    assert.deepEqual(asked, [], "everything was kept");
  });

  test("a kept file that was damaged is dropped and fetched again", async () => {
    page = await open(browser);
    const { asked } = await serve(page, made.folder);
    await giveAddress(page, PATH);
    await load(page);
    await uses(page, "Model several");
    await page.evaluate(async (name) => {
      const [cacheName] = await caches.keys();
      const cache = await caches.open(cacheName);
      const request = (await cache.keys()).find(({ url }) => url.endsWith(name));
      const bytes = new Uint8Array(await (await cache.match(request)).arrayBuffer());
      bytes[bytes.length - 1] ^= 1;
      await cache.put(request, new Response(bytes));
    }, made.files[2]);
    asked.length = 0;
    await page.reload();
    await uses(page, "Model several");
    assert.deepEqual(asked, [made.files[2]]);
  });

  test("an address of another origin is refused, and never asked", async () => {
    page = await open(browser);
    const requests = [];
    page.context().on("request", (request) => requests.push(request.url()));
    for (const address of [
      "https://example.com/model/",
      "//example.com/model/",
      "http://127.0.0.1:1/model.json",
      "blob:x",
      "data:,x",
    ]) {
      assert.equal(await giveAddress(page, address), "error", address);
      assert.match(
        await page.locator("#models-error").innerText(),
        /talks to no other server.+choose its folder/,
      );
    }
    assert.deepEqual(requests, []);
  });

  test("an own address that leads to another origin is not followed", async () => {
    page = await open(browser);
    await page
      .context()
      .route(`**${PATH}*`, (route) =>
        route.fulfill({ status: 302, headers: { location: "https://example.com/model.json" }, body: "" }),
      );
    assert.equal(await giveAddress(page, PATH), "error");
    assert.match(await page.locator("#models-error").innerText(), /Could not load|HTTP/);
  });
});
