// From navigation to the first finding: the real page on its own server, opened with a stored text.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { siteUrl, until } from "../browser/support.mjs";
import { ROOT } from "./options.mjs";
import { summarise } from "./statistics.mjs";

const SAMPLE = "book_search.py";
/** So sensitive that there is a finding whatever the model thinks of the sample: its time is asked for, not its opinion. */
const SETTINGS = { device: "cpu", threshold: 0.01, cwes: null, editor: "code", theme: "light" };

export async function firstFinding(browser, openings) {
  const text = await readFile(path.join(ROOT, "web/src/samples", SAMPLE), "utf8");
  const cold = [];
  const warm = [];
  let units = 0;
  for (let i = 0; i < openings; i += 1) {
    const context = await browser.newContext();
    await context.addInitScript(prepare, { settings: SETTINGS, name: SAMPLE, text });
    const page = await context.newPage();
    await page.goto(siteUrl());
    cold.push(await times(page));
    await page.reload();
    warm.push(await times(page));
    units = await page.evaluate(() => Number(document.querySelector("#summary").dataset.unitsRun));
    await context.close();
  }
  const summary = (list) => ({
    ready: summarise(list.map(({ ready }) => ready)),
    finding: summarise(list.map(({ finding }) => finding)),
  });
  return { sample: SAMPLE, lines: text.trimEnd().split("\n").length, units, cold: summary(cold), warm: summary(warm) };
}

async function times(page) {
  return until(page, "the first finding", () => (window.times.finding ? window.times : null));
}

/** Runs in the page before its own scripts. `performance.now()` counts from the start of the navigation. */
function prepare({ settings, name, text }) {
  localStorage["cloister.settings.1"] = JSON.stringify(settings);
  localStorage["cloister.documents.1"] = JSON.stringify({ active: 0, items: [{ name, text, untouched: false }] });
  window.times = {};
  const look = () => {
    const now = performance.now();
    if (document.querySelector("#engine")?.dataset.phase === "ready") window.times.ready ??= now;
    if (document.querySelector("#findings .finding")) window.times.finding ??= now;
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true });
}
