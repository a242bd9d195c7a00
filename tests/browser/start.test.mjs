import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { BACKEND, CPU_ONLY, launch, open, ready } from "./support.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

test("the page loads and runs on the device asked for", async () => {
  const page = await open(browser);
  assert.equal(await ready(page), BACKEND);
  const line = await page.locator("#engine-text").innerText();
  assert.match(line, BACKEND === "webgpu" ? /^GPU · .+ · f(32|16)/ : /^Processor · .+ · f32/);
  assert.deepEqual(page.faults, []);
  assert.deepEqual(
    await page.evaluate(() => window.refusals),
    [],
    "the policy refused something of the page's own",
  );
  await page.context().close();
});

test("the model card shows what the model is and how good it was measured", async () => {
  const page = await open(browser);
  await page.getByRole("button", { name: "Model card" }).click();
  const card = page.getByRole("dialog", { name: "Model card" });
  await card.getByText("Self-test").waitFor();
  assert.match(await card.innerText(), /[0-9a-f]{64}/, "the model's hash");
  assert.match(await card.innerText(), /Cannot see/);
  await page.keyboard.press("Escape");
  assert.equal(await card.isVisible(), false);
  await page.context().close();
});

test("by itself the page takes the processor where no good GPU is, and says why", async () => {
  const page = await open(browser, { settings: { device: "auto" } });
  assert.equal(await ready(page), "cpu");
  const note = await page.locator("#engine-note").innerText();
  assert.match(
    note,
    BACKEND === "webgpu" ? /software one \(.*swiftshader.*\)/i : /^No GPU: .+ Using the processor\.$/,
  );
  await page.context().close();
});

test("a GPU that is forced but missing is named as the reason for the processor", CPU_ONLY, async () => {
  const page = await open(browser, { settings: { device: "webgpu" } });
  assert.equal(await ready(page), "cpu");
  assert.match(await page.locator("#engine-note").innerText(), /^No GPU: .+ Using the processor\.$/);
  await page.context().close();
});

test("a missing model file gives a sentence that says what to do", CPU_ONLY, async () => {
  const page = await open(browser, { waitReady: false });
  await page.context().route("**/model/model.json", (route) => route.fulfill({ status: 404, body: "" }));
  await page.reload();
  await assert.rejects(ready(page), /no model\/model\.json \(HTTP 404\).*cargo xtask build/s);
  await page.context().unroute("**/model/model.json");
  await page.getByRole("button", { name: "Start again" }).click();
  assert.equal(await ready(page), "cpu");
  await page.context().close();
});

test("a model file that was changed on the way is refused", CPU_ONLY, async () => {
  const page = await open(browser, { waitReady: false });
  await page.context().route(/\/model\/(?!model\.json)/, async (route) => {
    const response = await route.fetch();
    const body = await response.body();
    body[body.length - 1] ^= 1;
    await route.fulfill({ response, body });
  });
  await page.reload();
  await assert.rejects(ready(page), /SHA-256|hash/i);
  await page.context().close();
});
