import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { analysed, CPU_ONLY, EVERYTHING, launch, open } from "./support.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

const python = (name, text) => ({ name, mimeType: "text/x-python", buffer: Buffer.from(text) });

/** Drops files on the page as a file manager does. */
async function drop(page, files) {
  const transfer = await page.evaluateHandle((list) => {
    const data = new DataTransfer();
    for (const { name, text } of list) data.items.add(new File([text], name, { type: "text/x-python" }));
    return data;
  }, files);
  await page.dispatchEvent("body", "dragenter", { dataTransfer: transfer });
  await page.locator("#drop-overlay").waitFor();
  await page.dispatchEvent(".cm-content", "drop", { dataTransfer: transfer });
}

describe("files", CPU_ONLY, () => {
  let page;
  const names = () => page.locator(".tab-name bdi").allInnerTexts();
  before(async () => {
    page = await open(browser, { settings: EVERYTHING });
  });
  after(() => page?.context().close());

  test("many files open at once, each in its tab, and findings name their file", async () => {
    const files = [1, 2, 3].map((n) => python(`part${n}.py`, `def run${n}(code):\n    return eval(code)\n`));
    await analysed(page, () => page.locator("#file-input").setInputFiles(files));
    assert.deepEqual(await names(), ["part1.py", "part2.py", "part3.py"]);
    const groups = await page.locator(".file-name").allInnerTexts();
    assert.ok(groups.length >= 1 && groups.every((name) => /^part\d\.py$/.test(name)));
  });

  test("going to a finding of another file shows that file", async () => {
    const item = page.locator(".file-name", { hasText: "part3.py" }).locator("+ ol .finding-head").first();
    await item.click();
    assert.equal(await page.locator(".tab-current bdi").innerText(), "part3.py");
    assert.match(await page.locator(".cm-content").innerText(), /def run3/);
  });

  test("dropped files open; the overlay goes; others are left out with a word", async () => {
    await analysed(page, () =>
      drop(page, [
        { name: "dropped.py", text: "x = 1\n" },
        { name: "again.py", text: "y = 2\n" },
        { name: "notes.docx", text: "no" },
      ]),
    );
    assert.deepEqual((await names()).slice(-2), ["dropped.py", "again.py"]);
    assert.equal(await page.locator("#drop-overlay").isVisible(), false);
    assert.match(
      await page.locator("#message-text").innerText(),
      /Opened 2 files\. 1 file without a Python name/,
    );
  });

  test("a name that is taken gets a number, and tabs close by keyboard", async () => {
    await analysed(page, () => page.locator("#file-input").setInputFiles([python("part1.py", "z = 3\n")]));
    assert.equal((await names()).at(-1), "part1 (2).py");
    const before = (await names()).length;
    await page.getByRole("button", { name: "Close part1 (2).py" }).focus();
    await page.keyboard.press("Enter");
    assert.equal((await names()).length, before - 1);
  });

  test("a file in another encoding is read by its declaration", async () => {
    const text = Buffer.concat([
      Buffer.from('# -*- coding: latin-1 -*-\nname = "'),
      Buffer.from([0xe9]),
      Buffer.from('"\n'),
    ]);
    const file = { name: "latin.py", mimeType: "text/x-python", buffer: text };
    await analysed(page, () => page.locator("#file-input").setInputFiles([file]));
    assert.match(await page.locator(".cm-content").innerText(), /name = "é"/);
  });
});
