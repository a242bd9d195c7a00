// What the tests of added models share: the dialog, and a package on the page's own server.
import { basename, join } from "node:path";
import { until } from "./support.mjs";

/** What finds something in it. */
export const TEXT = "def run(code):\n    return eval(code)\n";
/** The name of the page's own model. */
export const OWN = "Cloister Small";
/** Where `serve` puts a package. */
export const PATH = "/models/served/";

export const message = (page) => page.locator("#message-text").innerText();
export const dialog = (page) => page.getByRole("dialog", { name: "Models" });

export async function openDialog(page) {
  if (!(await dialog(page).isVisible()))
    await page.getByRole("button", { name: "Models", exact: true }).click();
  await dialog(page)
    .getByText(/The page’s own model/)
    .waitFor();
}

/** Picks a package, and waits for what the page says about it: "found" or "error". */
export async function look(page, choose) {
  await openDialog(page);
  await choose();
  return until(page, "the package to be looked at", () => {
    if (!document.querySelector("#models-error").hidden) return "error";
    return document.querySelector("#models-found").hidden ? null : "found";
  });
}

export const pickFolder = (page, folder) =>
  look(page, () => page.locator("#models-folder-input").setInputFiles(folder));
export const pickFiles = (page, files) =>
  look(page, () => page.locator("#models-files-input").setInputFiles(files));

export async function giveAddress(page, address) {
  return look(page, async () => {
    await page.getByLabel("Or its path on this server").fill(address);
    await page.keyboard.press("Enter");
  });
}

export const load = (page) => page.getByRole("button", { name: "Load this model" }).click();

/** Waits until the engine runs with the model of this name. */
export async function uses(page, name) {
  await until(
    page,
    `the model ${name}`,
    (wanted) => {
      const { phase } = document.querySelector("#engine").dataset;
      return phase === "ready" && document.querySelector("#engine-text").textContent.endsWith(` · ${wanted}`);
    },
    name,
  );
}

/** Serves a package at PATH of the page's own origin; returns the names that were asked for, and a gate for one of them. */
export async function serve(page, folder, held = null) {
  const asked = [];
  let release;
  const gate = new Promise((resolve) => {
    release = resolve;
  });
  await page.context().route(`**${PATH}*`, async (route) => {
    const name = basename(new URL(route.request().url()).pathname);
    asked.push(name);
    if (name === held) await gate;
    // A request that was cancelled meanwhile takes no answer.
    await route.fulfill({ path: join(folder, name) }).catch(() => {});
  });
  return { asked, release };
}
