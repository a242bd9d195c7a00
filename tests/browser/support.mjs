// What the browser tests share: the browser, a page on the running server, and waiting without guessing.
//
// CLOISTER_URL      address of the served site, such as http://localhost:8080/
// CLOISTER_BACKEND  cpu (default) or webgpu
// CHROMIUM          the browser to run, /usr/bin/chromium unless set
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

// The packages are those of web/package-lock.json; tests have no second set.
export const fromWeb = createRequire(new URL("../../web/package.json", import.meta.url));
const { chromium } = fromWeb("playwright-core");

export const BACKEND = process.env.CLOISTER_BACKEND ?? "cpu";
/** For tests that show the same on every backend: once is enough. */
export const CPU_ONLY = { skip: BACKEND === "cpu" ? false : "runs with CLOISTER_BACKEND=cpu" };
/** SwiftShader on a slow machine takes its time. */
export const PATIENCE_MS = BACKEND === "webgpu" ? 400_000 : 120_000;

export const QUIET = [
  "--no-sandbox",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-quic",
];
const SOFTWARE_GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

export function siteUrl() {
  const url = process.env.CLOISTER_URL;
  if (!url) {
    throw new Error(
      'CLOISTER_URL is not set. Run "cargo xtask test", or start "cargo xtask serve" and set CLOISTER_URL=http://localhost:8080/',
    );
  }
  return url;
}

export async function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: BACKEND === "webgpu" ? [...QUIET, ...SOFTWARE_GPU] : QUIET,
  });
}

/**
 * A page in a fresh profile. `settings` are stored before it loads; `device` is the backend under test unless
 * they say otherwise; `manifest` changes the model's manifest on its way. Errors and refusals of the policy gather in `page.faults`.
 */
export async function open(browser, { settings = {}, waitReady = true, manifest, ...contextOptions } = {}) {
  const context = await browser.newContext({ acceptDownloads: true, ...contextOptions });
  const stored = JSON.stringify({ device: BACKEND, ...settings });
  await context.addInitScript((value) => {
    localStorage["cloister.settings.1"] ??= value;
    window.refusals = [];
    addEventListener("securitypolicyviolation", (event) => {
      window.refusals.push(`${event.effectiveDirective}: ${event.blockedURI} ${event.sourceFile ?? ""}`);
    });
  }, stored);
  const page = await context.newPage();
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(String(error)));
  if (manifest) {
    await page.route("**/model/model.json", async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, json: manifest(await response.json()) });
    });
  }
  await page.goto(siteUrl());
  if (waitReady) await ready(page);
  return page;
}

/** Calls `probe` in the page until it returns something true, and returns that. */
export async function until(page, what, probe, argument, timeout = PATIENCE_MS) {
  const deadline = Date.now() + timeout;
  for (;;) {
    const value = await page.evaluate(probe, argument);
    if (value) return value;
    if (Date.now() > deadline) {
      const engine = await page.locator("#engine").innerText();
      const summary = await page.locator("#summary").innerText();
      throw new Error(
        `waited ${timeout / 1000} s in vain: ${what}. Engine: "${engine}". Summary: "${summary}".`,
      );
    }
    await page.waitForTimeout(50);
  }
}

/** Waits for the engine, and returns the backend that it runs on. */
export async function ready(page) {
  const phase = await until(page, "the engine to be ready", () => {
    const { phase } = document.querySelector("#engine").dataset;
    return phase === "ready" || phase === "failed" ? phase : null;
  });
  if (phase === "failed") throw new Error(await page.locator("#engine").innerText());
  return page.locator("#engine").getAttribute("data-backend");
}

/** Does `action`, waits for the result that follows it, and returns its figures. */
export async function analysed(page, action) {
  const before = await page.evaluate(() => Number(document.querySelector("#summary").dataset.result ?? 0));
  await action();
  return until(
    page,
    "the next result",
    (seen) => {
      const { result, phase, unitsRun, unitsCached, findings } = document.querySelector("#summary").dataset;
      if (Number(result ?? 0) <= seen || phase !== "idle") return null;
      return { unitsRun: Number(unitsRun), unitsCached: Number(unitsCached), findings: Number(findings) };
    },
    before,
  );
}

/** Replaces the text of the code editor as a paste does. */
export async function paste(page, text) {
  const editor = page.locator(".cm-content");
  await editor.click();
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.press("Delete");
  // The driver's own messages cannot carry lone surrogates: they travel as JSON escapes.
  await editor.evaluate((node, json) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", JSON.parse(json));
    node.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
  }, JSON.stringify(text));
}

/** Opens a bundled sample by its file name. */
export async function openSample(page, name) {
  await page.locator("#samples").selectOption(name);
}

/** Presses a "Save as" button, and returns the name and the text of the file that it saves. */
export async function save(page, button) {
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: button }).click(),
  ]);
  return { name: download.suggestedFilename(), text: await readFile(await download.path(), "utf8") };
}

/** The most sensitive setting: what the model only faintly suspects is reported too. */
export const EVERYTHING = { threshold: 0.01 };

/** A path below tests/browser/output/, which git ignores. */
export async function outputPath(name) {
  const folder = new URL("./output/", import.meta.url);
  await mkdir(folder, { recursive: true });
  return fileURLToPath(new URL(name, folder));
}
