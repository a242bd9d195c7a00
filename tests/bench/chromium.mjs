// The browser, with the machine's GPU where it has one and with a simulated one where not.
import { fromWeb } from "../browser/support.mjs";

const { chromium } = fromWeb("playwright-core");

const QUIET = [
  "--no-sandbox",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-quic",
];
const GPUS = [
  ["--enable-unsafe-webgpu", "--enable-features=Vulkan"],
  ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
];

/** `url` is a page on localhost, where WebGPU is allowed. */
export async function openBrowser(url) {
  for (const [index, gpu] of GPUS.entries()) {
    const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
    const browser = await chromium.launch({ executablePath, args: [...QUIET, ...gpu] });
    const adapter = await describe(browser, url);
    if ((adapter && !adapter.software) || index === GPUS.length - 1) return { browser, adapter };
    await browser.close();
  }
}

async function describe(browser, url) {
  const page = await browser.newPage();
  await page.goto(url);
  const adapter = await page.evaluate(async () => {
    const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
    if (!adapter) return null;
    const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info;
    const name = [vendor, architecture, device, description].filter(Boolean).join(" ");
    const software = isFallbackAdapter === true || /swiftshader|llvmpipe|lavapipe|softpipe/i.test(name);
    return { name: name || "unnamed adapter", software };
  });
  await page.close();
  return adapter;
}
