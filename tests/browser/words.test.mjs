// The model's own words about a finding's unit.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { analysed, BACKEND, EVERYTHING, launch, open, openSample, PATIENCE_MS, until } from "./support.mjs";

/** The last entry of the vocabulary stands for the token that ends what is said: so the model is taken for one that speaks. */
const speaking = (manifest) => {
  manifest.prompt.stop = [manifest.architecture.config.vocab_size - 1];
  return manifest;
};
const STATUS = ".own-words [role=status]";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

test(`a model that answers in words is asked for its own, on ${BACKEND}`, { timeout: 2 * PATIENCE_MS }, async () => {
  const page = await open(browser, { settings: EVERYTHING, manifest: speaking });
  await analysed(page, () => openSample(page, "book_search.py"));
  const first = page.locator(".finding").first();
  await first.getByRole("button", { name: /^Explain/ }).click();
  const button = first.locator(".own-words button");
  assert.match(await button.getAttribute("aria-label"), /^Ask the model about /);

  await button.click();
  await until(page, "the first words", () => document.querySelector(".own-words .words").textContent.length > 0);
  assert.match(await first.locator(STATUS).innerText(), /Nothing checks these words/);
  await until(page, "the end of the words", (at) => / stopped | cut off |nothing\./.test(document.querySelector(at).textContent), STATUS);
  assert.equal(await button.innerText(), "Ask again");
  const all = await first.locator(".words").innerText();

  // Greedy words are the same again. Stopped, they are as far as they came.
  await button.click();
  await until(page, "the first words again", () => document.querySelector(".own-words .words").textContent.length > 0);
  await button.click();
  await until(page, "the stop", (at) => /stopped there/.test(document.querySelector(at).textContent), STATUS);
  const some = await first.locator(".words").innerText();
  assert.ok(all.startsWith(some) && some.length < all.length, JSON.stringify([some, all]));

  // New text is analysed at once, whatever is being said.
  await button.click();
  const { findings } = await analysed(page, () => openSample(page, "guestbook.py"));
  assert.ok(findings > 0);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("a model that answers with single tokens has no words of its own", async () => {
  const page = await open(browser, { settings: EVERYTHING });
  await analysed(page, () => openSample(page, "book_search.py"));
  assert.ok((await page.locator(".finding").count()) > 0);
  assert.equal(await page.locator(".own-words").count(), 0);
  await page.context().close();
});
