import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { analysed, CPU_ONLY, launch, open, openSample, paste, ready, until } from "./support.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

describe("settings", CPU_ONLY, () => {
  let page;
  before(async () => {
    page = await open(browser);
    await page.getByRole("button", { name: "Settings" }).click();
  });
  after(() => page?.context().close());

  test("the slider changes what is reported, without running any unit again", async () => {
    await analysed(page, () => openSample(page, "book_search.py"));
    const slider = page.locator("#sensitivity");
    await slider.focus();
    const most = await analysed(page, () => page.keyboard.press("End"));
    const fewest = await analysed(page, () => page.keyboard.press("Home"));
    assert.equal(most.unitsRun, 0);
    assert.equal(fewest.unitsRun, 0);
    assert.ok(
      most.findings > fewest.findings,
      `${most.findings} findings at most, ${fewest.findings} at least`,
    );
    await analysed(page, () => page.keyboard.press("End"));
  });

  test("the filter leaves classes out", async () => {
    const found = await page.locator(".finding-title b").allInnerTexts();
    await page
      .locator("#cwe-list")
      .getByRole("checkbox", { name: new RegExp(`^${found[0]}( |$)`) })
      .focus();
    await analysed(page, () => page.keyboard.press("Space"));
    assert.ok(!(await page.locator(".finding-title b").allInnerTexts()).includes(found[0]));
    const none = await analysed(page, () => page.locator("#cwe-none").click());
    assert.equal(none.findings, 0);
    await analysed(page, () => page.locator("#cwe-all").click());
    assert.deepEqual(await page.locator(".finding-title b").allInnerTexts(), found);
  });

  test("the plain text box shows the same text, marks lines and goes to them", async () => {
    await page.getByRole("radio", { name: "plain text box" }).check();
    const box = page.getByRole("textbox", { name: "Python source of book_search.py" });
    assert.match(await box.inputValue(), /^"""Search over a small library/);
    assert.match(await page.locator(".plain-gutter").innerText(), /●/);
    const first = page.locator(".finding").first();
    const line = Number(/\d+/.exec(await first.locator(".finding-place").innerText())[0]);
    await first.locator(".finding-head").click();
    const at = await box.evaluate((node) => node.value.slice(0, node.selectionStart).split("\n").length);
    assert.equal(at, line);
    await page.getByRole("radio", { name: "code editor" }).check();
  });

  test("text and settings survive a reload", async () => {
    await page.getByRole("radio", { name: "dark" }).check();
    await analysed(page, () => paste(page, "survivor = 'a\ud800b'\n"));
    await page.reload();
    await ready(page);
    await until(page, "the first result", () => document.querySelector("#summary").dataset.result === "1");
    assert.match(await page.locator(".cm-content").innerText(), /survivor/);
    const kept = await page.evaluate(
      () => JSON.parse(localStorage["cloister.documents.1"]).items.at(-1).text,
    );
    assert.equal(kept, "survivor = 'a\ud800b'\n");
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
    assert.equal(await page.locator("#sensitivity").inputValue(), "99");
  });

  test("everything can be cleared, after a question", async () => {
    await page.getByRole("button", { name: "Settings" }).click();
    page.once("dialog", (dialog) => dialog.dismiss());
    await page.getByRole("button", { name: "Clear everything" }).click();
    assert.match(await page.locator(".cm-content").innerText(), /survivor/);
    page.once("dialog", (dialog) => dialog.accept());
    await page.getByRole("button", { name: "Clear everything" }).click();
    // The clearing starts the engine on the default device: wait until that is over too.
    await ready(page);
    assert.deepEqual(await page.evaluate(() => Object.keys(localStorage)), []);
    assert.doesNotMatch(await page.locator(".cm-content").innerText(), /survivor/);
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), undefined);
    assert.equal(await page.locator("#welcome").isVisible(), true);
  });
});
