// Packages that cannot be used, machines that they do not fit on, and browsers that keep nothing.
import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { dialog, load, message, OWN, openDialog, pickFiles, pickFolder, TEXT, uses } from "./models.mjs";
import { makePackage } from "./packages.mjs";
import {
  analysed,
  BACKEND,
  CPU_ONLY,
  EVERYTHING,
  fromWeb,
  launch,
  open,
  paste,
  QUIET,
  siteUrl,
  until,
} from "./support.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

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
    const { findings } = await analysed(page, () =>
      page.getByRole("button", { name: "Analyse now" }).click(),
    );
    assert.ok(findings > 0);
    assert.equal(
      await page.evaluate(() => JSON.parse(localStorage["cloister.settings.1"]).model ?? null),
      null,
    );
  }

  test("a wrong hash: told, and the page goes on with its own model", async () => {
    made = await makePackage("damaged");
    const file = join(made.folder, made.files[3]);
    const bytes = await readFile(file);
    bytes[bytes.length - 1] ^= 1;
    await writeFile(file, bytes);
    await pickFolder(page, made.folder);
    await load(page);
    await until(page, "the message", () =>
      /could not be used/.test(document.querySelector("#message-text").textContent),
    );
    assert.match(
      await message(page),
      /“Model damaged” could not be used: .*SHA-256.* The page goes on with its own model/,
    );
    await goesOn();
  });

  test("a missing shard: told before anything is loaded", async () => {
    made = await makePackage("gap");
    await rm(join(made.folder, made.files[2]));
    assert.equal(await pickFolder(page, made.folder), "found");
    assert.match(
      await page.locator("#models-found").innerText(),
      new RegExp(`missing: ${made.files[2]}\\. Choose the whole folder`),
    );
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
        Object.assign(manifest.architecture.config, {
          n_layer: 40,
          n_embd: 5120,
          n_head: 40,
          vocab_size: 51200,
        });
        const [{ sha256 }] = manifest.weights.shards;
        manifest.weights.quantization = { scheme: "q8", blockSize: 32 };
        manifest.weights.shards = Array.from({ length: 900 }, (_, n) => ({
          file: `w${n}`,
          bytes: 16_000_000,
          sha256,
        }));
      },
    });
    assert.equal(await pickFolder(page, made.folder), "found");
    const told = await page.locator("#models-found").innerText();
    assert.match(
      told,
      /As it is stored \(q8, 14\.40 GB\): does not fit\. .+ of memory, and a page can give it 3\.76 GB/,
    );
    assert.match(told, /does not fit on this machine\. Make it again with fewer bits/);
    assert.equal(await page.getByRole("button", { name: "Load this model" }).isDisabled(), true);
    await page.keyboard.press("Escape");
    await goesOn();
  });
});

describe("on a machine with a GPU", {
  skip: BACKEND === "webgpu" ? false : "runs with CLOISTER_BACKEND=webgpu",
}, () => {
  let page;
  let made;
  before(async () => {
    page = await open(browser, { settings: { device: "cpu" } });
  });
  after(async () => {
    await page?.context().close();
    await made?.remove();
  });

  test("what fits there is told; a model whose buffers are too large for it runs on the processor", async () => {
    const manifest = new URL("../../assets/model/model.json", import.meta.url).pathname;
    assert.equal(await pickFiles(page, [manifest]), "found");
    const small = await page.locator("#models-found").innerText();
    assert.match(
      small,
      /As it is stored \(.+\): fits on the GPU \(.+ there\) and on the processor \(.+ of memory\)\./,
    );
    const limit = await page.evaluate(async () => {
      const { limits } = await navigator.gpu.requestAdapter();
      return Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize);
    });
    // A context so long that the scores of attention, 4 bytes for each head and pair of positions, are a
    // little too large.
    made = await makePackage("long", {
      change: ({ architecture: { config } }) => {
        config.n_positions = Math.ceil(Math.sqrt((limit * 1.01) / 4 / config.n_head));
      },
    });
    assert.equal(await pickFolder(page, made.folder), "found");
    const long = await page.locator("#models-found").innerText();
    assert.match(
      long,
      /As it is stored .+: fits on the processor .+, not on the GPU: it needs a buffer of .+, and this GPU takes .+ at most\./,
    );
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Settings" }).click();
    await page.getByRole("radio", { name: "the best device here" }).check();
    await uses(page, OWN);
    await pickFolder(page, made.folder);
    await load(page);
    await uses(page, "Model long");
    assert.equal(await page.locator("#engine").getAttribute("data-backend"), "cpu");
    assert.match(
      await page.locator("#engine-note").innerText(),
      /^This model does not fit on the GPU: .+ Using the processor\.$/,
    );
  });
});

describe("where the browser keeps nothing", CPU_ONLY, () => {
  // A name that is no secure origin, at the address of the same server; and a page that was opened from a
  // file.
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
    assert.match(
      await dialog(page).innerText(),
      /keeps no models: after a reload a model has to be added again/,
    );
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
