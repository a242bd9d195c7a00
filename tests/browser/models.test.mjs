// Models that the user adds, and the way back.
import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { makePackage } from "./packages.mjs";
import {
  analysed,
  CPU_ONLY,
  EVERYTHING,
  fromWeb,
  launch,
  open,
  paste,
  QUIET,
  ready,
  siteUrl,
  until,
} from "./support.mjs";

const TEXT = "def run(code):\n    return eval(code)\n";
const OWN = "Cloister Small";
const PATH = "/models/served/";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

const message = (page) => page.locator("#message-text").innerText();
const dialog = (page) => page.getByRole("dialog", { name: "Models" });

async function openDialog(page) {
  if (!(await dialog(page).isVisible())) await page.getByRole("button", { name: "Models", exact: true }).click();
  await dialog(page).getByText(/The page’s own model/).waitFor();
}

/** Picks a package, and waits for what the page says about it: "found" or "error". */
async function look(page, choose) {
  await openDialog(page);
  await choose();
  return until(page, "the package to be looked at", () => {
    if (!document.querySelector("#models-error").hidden) return "error";
    return document.querySelector("#models-found").hidden ? null : "found";
  });
}

const pickFolder = (page, folder) => look(page, () => page.locator("#models-folder-input").setInputFiles(folder));
const pickFiles = (page, files) => look(page, () => page.locator("#models-files-input").setInputFiles(files));

async function giveAddress(page, address) {
  return look(page, async () => {
    await page.getByLabel("Or its path on this server").fill(address);
    await page.keyboard.press("Enter");
  });
}

const load = (page) => page.getByRole("button", { name: "Load this model" }).click();

/** Waits until the engine runs with the model of this name. */
async function uses(page, name) {
  await until(
    page,
    `the model ${name}`,
    (wanted) => {
      const { phase } = document.querySelector("#engine").dataset;
      return phase === "ready" && document.querySelector("#engine-text").textContent.endsWith(` · ${wanted}`);
    },
    name,
  );
}

/** Serves a package at PATH of the page's own origin; returns the names that were asked for, and a gate for one of them. */
async function serve(page, folder, held = null) {
  const asked = [];
  let release;
  const gate = new Promise((resolve) => {
    release = resolve;
  });
  await page.context().route(`**${PATH}*`, async (route) => {
    const name = basename(new URL(route.request().url()).pathname);
    asked.push(name);
    if (name === held) await gate;
    // A request that was cancelled meanwhile takes no answer.
    await route.fulfill({ path: join(folder, name) }).catch(() => {});
  });
  return { asked, release };
}

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
    assert.match(told, /As it is stored \(.+\): fits on the processor \(\d+\.\d MB of memory\), not on the GPU/);
    assert.equal(told.match(/Made again in (f16|q8|q4) \(/g).length, 2);
    const added = await analysed(page, () => load(page));
    await uses(page, "Model several");
    assert.equal(added.findings, own.findings);
    assert.match(await message(page), /now uses “Model several”\.$/);
    await page.getByRole("button", { name: "Model card" }).click();
    assert.match(await page.locator("#card-body").innerText(), /Model several/);
    await page.keyboard.press("Escape");
    await openDialog(page);
    await dialog(page).getByText(/^Model several \(.+\), \d+\.\d MB kept, in use$/).waitFor();
    await analysed(page, () => page.getByRole("button", { name: "Use the page’s own model" }).click());
    await uses(page, OWN);
    assert.match(await page.locator(".cm-content").innerText(), /return eval\(code\)/);
    assert.deepEqual(page.faults, []);
    assert.deepEqual(await page.evaluate(() => window.refusals), []);
  });

  test("is there after a reload, without being chosen again, until it is removed", async () => {
    page = await open(browser);
    await pickFiles(page, ["model.json", ...made.files].map((name) => join(made.folder, name)));
    await load(page);
    await uses(page, "Model several");
    await page.reload();
    await uses(page, "Model several");
    await openDialog(page);
    await page.getByRole("button", { name: "Remove Model several" }).click();
    await uses(page, OWN);
    await until(page, "the list without it", () => !document.querySelector("#models-list").textContent.includes("several"));
    assert.deepEqual(await page.evaluate(() => caches.keys()), []);
    await page.reload();
    await uses(page, OWN);
  });

  test("by keyboard alone: found, read out from its heading, loaded, cancelled", async () => {
    page = await open(browser);
    const { release } = await serve(page, made.folder, made.files[2]);
    await page.getByRole("button", { name: "Models", exact: true }).focus();
    await page.keyboard.press("Enter");
    const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
    for (let n = 0; n < 20 && (await focused()) !== "models-address"; n += 1) await page.keyboard.press("Tab");
    await page.keyboard.type(PATH);
    await page.keyboard.press("Enter");
    await until(page, "the heading", () => document.activeElement.textContent === "Model several");
    for (let n = 0; n < 5 && (await focused()) !== "Load this model"; n += 1) await page.keyboard.press("Tab");
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
      await cache.put(request, new Response(new Uint8Array((await (await cache.match(request)).blob()).size)));
    }, made.files[2]);
    await page.reload();
    await uses(page, OWN);
    assert.match(await message(page), /“Model several” could not be used: .*SHA-256.* goes on with its own model/);
    await openDialog(page);
    await dialog(page).getByText(/^Model several .* kept, 4 of 5 files$/).waitFor();
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
    await until(page, "the third file to be loading", () => /Loading the model/.test(document.querySelector("#engine-text").textContent));
    while (!asked.includes(third)) await page.waitForTimeout(20);
    await page.getByRole("button", { name: "Cancel loading" }).click();
    await uses(page, OWN);
    assert.match(await message(page), /was cancelled\. What had arrived is kept/);
    await openDialog(page);
    await dialog(page).getByText(/^Model several .* kept, 2 of 5 files$/).waitFor();
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
    for (const address of ["https://example.com/model/", "//example.com/model/", "http://127.0.0.1:1/model.json", "blob:x", "data:,x"]) {
      assert.equal(await giveAddress(page, address), "error", address);
      assert.match(await page.locator("#models-error").innerText(), /talks to no other server.+choose its folder/);
    }
    assert.deepEqual(requests, []);
  });

  test("an own address that leads to another origin is not followed", async () => {
    page = await open(browser);
    await page.context().route(`**${PATH}*`, (route) =>
      route.fulfill({ status: 302, headers: { location: "https://example.com/model.json" }, body: "" }),
    );
    assert.equal(await giveAddress(page, PATH), "error");
    assert.match(await page.locator("#models-error").innerText(), /Could not load|HTTP/);
  });
});

describe("a package with a fault", CPU_ONLY, () => {
  let page;
  let made;
  before(async () => {
    page = await open(browser, { settings: EVERYTHING });
    await analysed(page, () => paste(page, TEXT));
  });
  after(() => page?.context().close());
  afterEach(async () => {
    await made?.remove();
    made = null;
  });

  const error = () => page.locator("#models-error").innerText();

  /** The page goes on as before, and the text is there. */
  async function goesOn() {
    await uses(page, OWN);
    assert.match(await page.locator(".cm-content").innerText(), /return eval\(code\)/);
    const { findings } = await analysed(page, () => page.getByRole("button", { name: "Analyse now" }).click());
    assert.ok(findings > 0);
    assert.equal(await page.evaluate(() => JSON.parse(localStorage["cloister.settings.1"]).model ?? null), null);
  }

  test("a wrong hash: told, and the page goes on with its own model", async () => {
    made = await makePackage("damaged");
    const file = join(made.folder, made.files[3]);
    const bytes = await readFile(file);
    bytes[bytes.length - 1] ^= 1;
    await writeFile(file, bytes);
    await pickFolder(page, made.folder);
    await load(page);
    await until(page, "the message", () => /could not be used/.test(document.querySelector("#message-text").textContent));
    assert.match(await message(page), /“Model damaged” could not be used: .*SHA-256.* The page goes on with its own model/);
    await goesOn();
  });

  test("a missing shard: told before anything is loaded", async () => {
    made = await makePackage("gap");
    await rm(join(made.folder, made.files[2]));
    assert.equal(await pickFolder(page, made.folder), "found");
    assert.match(await page.locator("#models-found").innerText(), new RegExp(`missing: ${made.files[2]}\\. Choose the whole folder`));
    assert.equal(await page.getByRole("button", { name: "Load this model" }).isDisabled(), true);
    await page.keyboard.press("Escape");
    await goesOn();
  });

  test("no package, no JSON, another format", async () => {
    const file = (name, text) => ({ name, mimeType: "text/plain", buffer: Buffer.from(text) });
    assert.equal(await pickFiles(page, [file("notes.txt", "hello")]), "error");
    assert.match(await error(), /no model\.json among what you chose.+Choose the folder/);
    assert.equal(await pickFiles(page, [file("model.json", "<html>")]), "error");
    assert.match(await error(), /not valid JSON/);
    assert.equal(await pickFiles(page, [file("model.json", '{"schema": 99}')]), "error");
    assert.match(await error(), /schema version 99.+update Cloister/);
    assert.equal(await pickFiles(page, [file("model.json", `"${"x".repeat(5 << 20)}"`)]), "error");
    assert.match(await error(), /too large for a manifest/);
    await page.keyboard.press("Escape");
    await goesOn();
  });

  test("a model that is too large for the machine: told before anything is loaded", async () => {
    made = await makePackage("giant", {
      change: (manifest) => {
        // 13 billion parameters in q8: sound on paper, and nothing that a page could hold.
        Object.assign(manifest.architecture.config, { n_layer: 40, n_embd: 5120, n_head: 40, vocab_size: 51200 });
        const [{ sha256 }] = manifest.weights.shards;
        manifest.weights.quantization = { scheme: "q8", blockSize: 32 };
        manifest.weights.shards = Array.from({ length: 900 }, (_, n) => ({ file: `w${n}`, bytes: 16_000_000, sha256 }));
      },
    });
    assert.equal(await pickFolder(page, made.folder), "found");
    const told = await page.locator("#models-found").innerText();
    assert.match(told, /As it is stored \(q8, 14\.40 GB\): does not fit\. .+ of memory, and a page can give it 3\.76 GB/);
    assert.match(told, /does not fit on this machine\. Make it again with fewer bits/);
    assert.equal(await page.getByRole("button", { name: "Load this model" }).isDisabled(), true);
    await page.keyboard.press("Escape");
    await goesOn();
  });
});

describe("where the browser keeps nothing", CPU_ONLY, () => {
  // A name that is no secure origin, at the address of the same server; and a page that was opened from a file.
  const ARGS = [...QUIET, "--host-resolver-rules=MAP plain.test 127.0.0.1", "--allow-file-access-from-files"];
  let plain;
  let made;
  before(async () => {
    plain = await fromWeb("playwright-core").chromium.launch({
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: ARGS,
    });
    made = await makePackage("passing");
  });
  after(async () => {
    await plain?.close();
    await made?.remove();
  });

  async function addAndReload(address) {
    const context = await plain.newContext();
    const page = await context.newPage();
    await page.goto(address);
    await uses(page, OWN);
    await openDialog(page);
    assert.match(await dialog(page).innerText(), /keeps no models: after a reload a model has to be added again/);
    await pickFolder(page, made.folder);
    await load(page);
    await uses(page, "Model passing");
    assert.match(await message(page), /keeps no models for this address: add it again after a reload/);
    await page.reload();
    await uses(page, OWN);
    return page;
  }

  test("on plain http a model works until the page is reloaded", async () => {
    const address = new URL(siteUrl());
    address.hostname = "plain.test";
    const page = await addAndReload(address.href);
    assert.equal(await page.evaluate(() => isSecureContext), false);
    await page.context().close();
  });

  test("on file:// a model works until the page is reloaded, and no address is asked for", async () => {
    const site = process.env.CLOISTER_DIST;
    if (!site) throw new Error('CLOISTER_DIST is not set. Run "cargo xtask test".');
    const page = await addAndReload(`file://${join(site, "index.html")}`);
    await openDialog(page);
    assert.equal(await page.locator("#models-address-form").isVisible(), false);
    await page.context().close();
  });
});
