// What was measured on: enough to judge the figures, nothing that names the machine.
import { readFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ROOT } from "./options.mjs";

const SAMPLE_MS = 3000;
/** A share of the processor that other programs may take before figures suffer. */
const QUIET = 0.1;

export async function machine() {
  const busy = await busyShare();
  if (busy > QUIET) {
    console.log(`  Other programs use ${percent(busy)} of the processor: the times will be too long.`);
  }
  const [first] = os.cpus();
  return {
    date: new Date().toISOString().slice(0, 10),
    processor: first?.model.trim() ?? "unknown",
    cores: os.availableParallelism(),
    memory: os.totalmem(),
    system: `${os.type()} ${os.machine()}`,
    busy,
    versions: {
      burn: await locked("burn"),
      node: process.versions.node,
      onnxruntimeWeb: await installed("onnxruntime-web"),
    },
  };
}

export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

/** The share of all cores' time that is in use while this program waits. */
async function busyShare() {
  const before = times();
  await sleep(SAMPLE_MS);
  const after = times();
  const idle = after.idle - before.idle;
  return 1 - idle / Math.max(1, after.all - before.all);
}

function times() {
  const sums = { idle: 0, all: 0 };
  for (const { times } of os.cpus()) {
    sums.idle += times.idle;
    for (const part of Object.values(times)) sums.all += part;
  }
  return sums;
}

/** The version of a package of the page. */
async function installed(name) {
  return JSON.parse(await readFile(path.join(ROOT, "web/node_modules", name, "package.json"), "utf8")).version;
}

/** The version of a crate in Cargo.lock. */
async function locked(name) {
  const lock = await readFile(path.join(ROOT, "Cargo.lock"), "utf8");
  return new RegExp(`name = "${name}"\nversion = "([^"]+)"`).exec(lock)?.[1] ?? "unknown";
}
