// Prefill without a browser: the engine as the command line has it, against other engines, one thread each.
import { spawn } from "node:child_process";
import path from "node:path";
import { createInterface } from "node:readline";
import { ROOT, WORK } from "./options.mjs";
import { run, script } from "./python.mjs";
import { checked, inTurns } from "./statistics.mjs";

/** The native program, from crates/cloister-cli/examples. */
const PREFILL = process.env.CLOISTER_PREFILL ?? path.join(ROOT, "target/release/examples/prefill");
const ONE_THREAD = { RAYON_NUM_THREADS: "1", OMP_NUM_THREADS: "1", MKL_NUM_THREADS: "1", PYTHONDONTWRITEBYTECODE: "1" };

/** Sources of which each gives one prompt of the prefix and exactly so many tokens, and those prompts. */
export function sources(folder, tokens, count) {
  const args = ["prompts", folder, "--tokens", String(tokens), "--count", String(count)];
  return JSON.parse(run(PREFILL, args, "pipe"));
}

export async function measureNative(python, { prefix, prompts }, options, warmups) {
  const folder = options.package;
  const cloister = { name: "Cloister (burn flex)", precision: "f32", ours: true };
  const onnx = (precision) => [script("serve.py"), "onnxruntime", folder, path.join(WORK, `model-${precision}.onnx`)];
  const contenders = [await start(cloister, PREFILL, ["serve", folder])];
  if (python.torch) {
    const torch = { name: "PyTorch", precision: "f32" };
    contenders.push(await start(torch, python.torch, [script("serve.py"), "torch", folder]));
  }
  for (const precision of ["f32", "int8"]) {
    contenders.push(await start({ name: "onnxruntime", precision }, python.base, onnx(precision)));
  }
  try {
    return await inTurns(contenders, { warmups, runs: options.runs }, async ({ facts, peer }, round) => {
      const { ids } = prompts[round];
      // Ours has read the prefix already and is given whole prompts; the others read as many tokens without it.
      const { millis } = await peer.ask(facts.ours ? ids : ids.slice(prefix));
      return millis;
    });
  } finally {
    for (const { peer } of contenders) peer?.end();
  }
}

/** A contender with its program running, or with the error that kept it from running. */
async function start(facts, program, args) {
  const peer = new Peer(program, args);
  try {
    const { version, difference } = await peer.next();
    return checked({ ...facts, version, difference }, { peer });
  } catch (error) {
    return { facts, error: error.message };
  }
}

/** A program that answers lines of JSON with lines of JSON. */
class Peer {
  #child;
  #waiting = [];
  #dead = null;

  constructor(program, args) {
    const env = { ...process.env, ...ONE_THREAD };
    this.#child = spawn(program, args, { env, stdio: ["pipe", "pipe", "inherit"] });
    this.#child.on("error", (error) => this.#fail(error));
    this.#child.on("close", (code) => this.#fail(new Error(`${path.basename(program)} ended with ${code}`)));
    // A program that has ended takes no more questions; its end is told by the event above.
    this.#child.stdin.on("error", () => {});
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      const waiting = this.#waiting.shift();
      try {
        waiting?.resolve(JSON.parse(line));
      } catch {
        waiting?.reject(new Error(`${path.basename(program)} said: ${line}`));
      }
    });
  }

  next() {
    if (this.#dead) return Promise.reject(this.#dead);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  ask(question) {
    const answer = this.next();
    this.#child.stdin.write(`${JSON.stringify(question)}\n`);
    return answer;
  }

  end() {
    this.#child.stdin.end();
  }

  #fail(error) {
    this.#dead = error;
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
