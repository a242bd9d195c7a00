import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { analysed, CPU_ONLY, EVERYTHING, launch, open, openSample, paste } from "./support.mjs";

let browser;
let other;
let visits = 0;
before(async () => {
  browser = await launch();
  // Another origin that would gladly answer: what fails below fails by the policy.
  other = createServer((_request, response) => {
    visits += 1;
    response.writeHead(200, { "access-control-allow-origin": "*" }).end("hello");
  });
  await new Promise((resolve) => other.listen(0, "127.0.0.1", resolve));
});
after(async () => {
  await browser?.close();
  other?.close();
});
const otherUrl = () => `http://127.0.0.1:${other.address().port}/`;

describe("privacy", CPU_ONLY, () => {
  let page;
  const requests = [];
  before(async () => {
    page = await open(browser, { settings: EVERYTHING });
    page.context().on("request", (request) => requests.push(request.url()));
  });
  after(() => page?.context().close());

  test("no request after ready: typing, analysing, saving, samples, dialogs, a reload of the model's text", async () => {
    await analysed(page, () => openSample(page, "book_search.py"));
    await page.locator(".cm-content").click();
    await analysed(page, () => page.keyboard.type("# more\n"));
    for (const name of ["Save as SARIF", "Save as JSON", "Save as Markdown"]) {
      await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name }).click()]);
    }
    await page.getByRole("button", { name: "Model card" }).click();
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: /how do I check this/ }).click();
    await page.getByRole("heading", { name: "Watch the network" }).waitFor();
    await page.keyboard.press("Escape");
    const sent = requests.filter((url) => !url.startsWith("blob:"));
    assert.deepEqual(sent, []);
  });

  test("the page works with the network gone", async () => {
    await page.context().setOffline(true);
    const { findings } = await analysed(page, () => openSample(page, "formula_column.py"));
    assert.ok(findings > 0);
    await page.context().setOffline(false);
  });

  test("the page cannot reach another origin by any of the usual ways", async () => {
    const outcome = await page.evaluate(async (url) => {
      const tried = {};
      tried.fetch = await fetch(url).then(
        () => "reached",
        () => "refused",
      );
      tried.image = await new Promise((resolve) => {
        const image = new Image();
        image.onload = image.onerror = () => resolve("refused");
        image.src = `${url}image`;
      });
      navigator.sendBeacon(`${url}beacon`, "x");
      tried.socket = await new Promise((resolve) => {
        try {
          const socket = new WebSocket(url.replace("http", "ws"));
          socket.onopen = () => resolve("reached");
          socket.onerror = () => resolve("refused");
        } catch {
          resolve("refused");
        }
      });
      return tried;
    }, otherUrl());
    assert.deepEqual(outcome, { fetch: "refused", image: "refused", socket: "refused" });
    const refusals = await page.evaluate(() => window.refusals.map((text) => text.split(":")[0]));
    assert.ok(refusals.includes("connect-src") && refusals.includes("img-src"), refusals.join(" "));
    assert.equal(visits, 0);
  });

  test("the engine's worker is under the same policy", async () => {
    const [worker] = page.workers();
    const outcome = await worker.evaluate(
      (url) =>
        fetch(url).then(
          () => "reached",
          () => "refused",
        ),
      otherUrl(),
    );
    assert.equal(outcome, "refused");
    assert.equal(visits, 0);
  });

  test("the policy stands in the document itself, for servers that send no header", async () => {
    const policy = await page.locator('meta[http-equiv="Content-Security-Policy"]').getAttribute("content");
    for (const part of [
      "default-src 'none'",
      "connect-src 'self'",
      "form-action 'none'",
      "base-uri 'none'",
    ]) {
      assert.ok(policy.includes(part), part);
    }
    assert.doesNotMatch(policy, /unsafe-inline|'unsafe-eval'|https?:/);
  });

  test("pasted markup and scripts show as text and do nothing", async () => {
    const hostile = [
      "# <script>window.owned = 1</script>",
      "# <img src=x onerror='window.owned = 2'>",
      "def f(x, y='<b>bold</b>'):",
      "    return eval(x) # </textarea><svg onload=window.owned=3>",
      "",
    ].join("\n");
    await analysed(page, () => paste(page, hostile));
    assert.match(await page.locator(".cm-content").innerText(), /<script>window\.owned = 1<\/script>/);
    assert.equal(await page.evaluate(() => window.owned), undefined);
    assert.equal(
      await page.locator(".cm-content script, .cm-content img, .cm-content b, main svg").count(),
      0,
    );
  });

  test("bidi and zero-width characters are shown, in the text and in names", async () => {
    await analysed(page, () =>
      paste(page, "if level != 'user\u202e \u2066# admin\u2069 \u2066':\n    pass\u200b\n"),
    );
    const shown = await page.locator(".hidden-character").allInnerTexts();
    assert.deepEqual(shown, ["U+202E", "U+2066", "U+2069", "U+2066", "U+200B"]);
    const buffer = Buffer.from("x = 1\n");
    await page
      .locator("#file-input")
      .setInputFiles([{ name: "evil\u202eyp.py", mimeType: "text/x-python", buffer }]);
    await page.getByRole("button", { name: "evil⟦U+202E⟧yp.py", exact: true }).waitFor();
  });
});
