// Bundles the page, the worker and the styles into generated/, where index.html expects them.
// `--watch` is not offered: trunk watches the sources and calls this again.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(fileURLToPath(import.meta.url));
const out = join(root, "generated");

const result = await build({
  absWorkingDir: root,
  entryPoints: {
    page: "src/main.ts",
    worker: "src/worker/worker.ts",
    "page-styles": "styles/page.css",
  },
  entryNames: "[name]",
  outdir: out,
  bundle: true,
  // Classic scripts: the worker uses importScripts, and a document opened from file:// cannot load modules.
  format: "iife",
  target: ["es2022"],
  charset: "utf8",
  loader: { ".py": "text" },
  minify: true,
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
});

await mkdir(out, { recursive: true });
await writeFile(join(out, "page-licences.txt"), await licences(bundledPackages(result.metafile)));

/** Names of the npm packages that ended up in the bundles. */
function bundledPackages(metafile) {
  const names = new Set();
  for (const input of Object.keys(metafile.inputs)) {
    const match = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (match) names.add(match[1]);
  }
  return [...names].sort();
}

/** The licence text of each package: their terms ask that it travels with the bundle. */
async function licences(names) {
  const parts = [];
  for (const name of names) {
    const folder = join(root, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    if (!file)
      throw new Error(`${name} ships no licence file: check its terms, then handle it in web/build.mjs`);
    parts.push(`${name} ${version} (${license})\n\n${(await readFile(join(folder, file), "utf8")).trim()}\n`);
  }
  return parts.join(`\n${"-".repeat(80)}\n\n`);
}
