import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { analysed, BACKEND, CPU_ONLY, EVERYTHING, launch, open, openSample, paste } from "./support.mjs";

const TWO_FUNCTIONS = `import sqlite3


def find(name):
    connection = sqlite3.connect("people.db")
    return connection.execute("SELECT * FROM people WHERE name = '" + name + "'").fetchall()


def greet(name):
    return "hello " + name
`;

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/** 1-based line of the cursor, as the code editor's gutter shows it. */
function cursorLine(page) {
  return page
    .locator(".cm-activeLineGutter:not(.cm-gutter-lint .cm-gutterElement)")
    .first()
    .innerText()
    .then(Number);
}

describe(`findings on ${BACKEND}`, () => {
  let page;
  before(async () => {
    page = await open(browser, { settings: EVERYTHING });
  });
  after(() => page?.context().close());

  test("a weak sample gives a finding, with its line marked", async () => {
    const { findings } = await analysed(page, () => openSample(page, "book_search.py"));
    assert.ok(findings > 0, "no finding at the highest sensitivity");
    assert.ok((await page.locator(".finding-line").count()) > 0, "no line is tinted");
    assert.ok((await page.locator(".cm-lint-marker").count()) > 0, "no sign in the gutter");
    const first = page.locator(".finding").first();
    assert.match(await first.innerText(), /CWE-\d+/);
    assert.match(await first.innerText(), /\d+% confident/);
    assert.match(await first.innerText(), /low|medium|high|critical/);
  });

  test("a click goes to the line and opens the explanation", async () => {
    const first = page.locator(".finding").first();
    const line = Number(/line(?:s)? (\d+)/.exec(await first.locator(".finding-place").innerText())[1]);
    await first.locator(".finding-head").click();
    assert.equal(await cursorLine(page), line);
    assert.ok(
      await page.locator(".cm-content").evaluate((node) => node.getRootNode().activeElement === node),
    );
    const detail = first.locator(".finding-detail");
    assert.match(await detail.innerText(), /What is wrong[\s\S]+What to do/);
  });

  test("the keyboard goes to the line too: Enter in the list, F8 in the editor", async () => {
    const heads = page.locator(".finding-head");
    const last = page.locator(".finding").last();
    await heads.first().focus();
    for (let i = 1; i < (await heads.count()); i += 1) await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    const lines = await page.locator(".finding-place").allInnerTexts();
    const numbers = lines.map((text) => Number(/line(?:s)? (\d+)/.exec(text)[1]));
    assert.equal(
      await cursorLine(page),
      Number(/\d+/.exec(await last.locator(".finding-place").innerText())[0]),
    );
    await page.keyboard.press("F8");
    assert.equal(await cursorLine(page), Math.min(...numbers), "after the last comes the first");
    await page.keyboard.press("Shift+F8");
    assert.equal(await cursorLine(page), Math.max(...numbers), "before the first comes the last");
  });

  test("after an edit only the unit that changed is run again", async () => {
    const first = await analysed(page, () => paste(page, TWO_FUNCTIONS));
    const units = first.unitsRun + first.unitsCached;
    assert.ok(units >= 2);
    const second = await analysed(page, async () => {
      await page.locator(".cm-line", { hasText: '"hello "' }).click();
      await page.keyboard.press("End");
      await page.keyboard.type(' + "!"');
    });
    assert.deepEqual([second.unitsRun, second.unitsCached], [1, units - 1]);
  });

  test("marks move with the text while the next analysis is on its way", async () => {
    const line = () => page.locator(".finding-line").first().innerText();
    const marked = await line();
    await page.locator(".cm-content").click();
    await page.keyboard.press("ControlOrMeta+Home");
    await analysed(page, () => page.keyboard.press("Enter"));
    assert.equal(await line(), marked);
  });
});

// Whether the model is any good is measured on labelled rows (cargo xtask report); this shows that the samples go all the
// way through it, at the slider's most sensitive end.
test("the bundled weak samples give findings when asked for unsure ones too", CPU_ONLY, async () => {
  const page = await open(browser, { settings: { threshold: 0.01 } });
  const names = ["book_search.py", "thumbnails.py", "basket_cookie.py", "formula_column.py"];
  const { findings } = await analysed(page, async () => {
    for (const name of names) await openSample(page, name);
  });
  assert.ok(findings > 0, "none of the plainly weak samples gives a finding");
  await page.context().close();
});
