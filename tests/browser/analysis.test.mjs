import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { analysed, CPU_ONLY, EVERYTHING, launch, open, PATIENCE_MS, paste, until } from "./support.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/** Enough units that the analysis can be caught while it runs. */
function manyFunctions(n) {
  const one = (i) =>
    `def handle_${i}(request):\n    value = request.args["v${i}"]\n    return value * ${i}\n\n\n`;
  return Array.from({ length: n }, (_, i) => one(i)).join("");
}

describe("a running analysis", CPU_ONLY, () => {
  let page;
  before(async () => {
    page = await open(browser, { settings: EVERYTHING });
  });
  after(() => page?.context().close());

  const running = () =>
    until(page, "the analysis to run and report", () => {
      const { phase } = document.querySelector("#summary").dataset;
      return phase === "running" && document.querySelector("#progress").value > 0;
    });

  test("shows its progress and can be cancelled; what was found stays", async () => {
    await paste(page, manyFunctions(400));
    await running();
    const { unitsRun } = await analysed(page, () => page.getByRole("button", { name: "Cancel" }).click());
    assert.ok(unitsRun < 400, `all ${unitsRun} units were run`);
    assert.match(await page.locator("#summary").innerText(), /^Cancelled before the end/);
    assert.equal(await page.locator("#progress").isVisible(), false);
  });

  test("goes on where it stopped when asked again, and gives way to newer text", async () => {
    await page.getByRole("button", { name: "Analyse now" }).click();
    await running();
    const { unitsRun, unitsCached } = await analysed(page, () => paste(page, "value = 1\n"));
    assert.ok(unitsRun + unitsCached <= 1, "the result is of the old text");
  });
});

describe("odd input", CPU_ONLY, () => {
  let page;
  before(async () => {
    page = await open(browser);
  });
  after(() => page?.context().close());

  const notices = () =>
    page.locator(".notices li").evaluateAll((items) => items.map((item) => item.dataset.kind));

  const cases = [
    [
      "prose",
      "Dear all, please find the minutes of the meeting below. Kind regards, Ada",
      /not-python|syntax-error/,
    ],
    ["a syntax error", "def broken(:\n    return 1\n", /syntax-error/],
    ["NUL characters", "value = 'a\0b'\n", /control-characters/],
    ["a lone surrogate", "value = 'a\ud800b'\n", /lone-surrogate/],
    ["bidi characters", "allowed = 'user\u202e \u2066# admin\u2069 \u2066'\n", /bidi-characters/],
    ["only spaces", "   \n\t\n", /empty/],
  ];
  for (const [name, text, expected] of cases) {
    test(`${name}: a clear note`, async () => {
      await analysed(page, () => paste(page, text));
      assert.match((await notices()).join(" "), expected);
      assert.ok((await page.locator(".notices").innerText()).length > 20, "the note says something");
      assert.deepEqual(page.faults, []);
    });
  }

  test("tabs and Windows line breaks are read as Python reads them", async () => {
    await analysed(page, () => paste(page, "def double(x):\r\n\treturn x * 2\r\n"));
    assert.deepEqual(await notices(), []);
    assert.equal(await page.locator(".cm-line").count(), 3);
  });

  test("an empty editor shows the welcome, not an error", async () => {
    await page.locator(".cm-content").click();
    await page.keyboard.press("ControlOrMeta+A");
    await page.keyboard.press("Delete");
    await page.locator("#welcome").waitFor();
    assert.equal(await page.locator("#analysis-error").isVisible(), false);
  });

  const large = [
    ["1 MB of text", manyFunctions(12_500)],
    [
      "one function of 5,000 lines",
      `def long(x):\n${"    x = x * 3 + len(str(x))\n".repeat(5000)}    return x\n`,
    ],
  ];
  for (const [name, text] of large) {
    test(`${name} is taken, can be cancelled, and leaves the page usable`, async () => {
      await paste(page, text);
      const cancel = page.getByRole("button", { name: "Cancel" });
      await cancel.waitFor({ timeout: PATIENCE_MS });
      await analysed(page, () => cancel.click());
      await analysed(page, () => paste(page, "value = 1\n"));
      assert.deepEqual(page.faults, []);
    });
  }
});
