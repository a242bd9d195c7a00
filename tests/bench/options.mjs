// The command line, and where things are.
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** Models, programs and results of the benchmarks. */
export const WORK = path.join(ROOT, "target/bench");

const HELP = `cargo xtask bench -- [OPTIONS]

  --runs N            prefills that count, on the processor (15)
  --gpu-runs N        the same through WebGPU (7)
  --openings N        times that the page is opened, with and without a cache (7)
  --tokens N          tokens of a prefill (256)
  --no-torch          leave PyTorch out
  --torch-python FILE a Python that has PyTorch, numpy and safetensors; else they are installed
  --no-webgpu         leave WebGPU out
  --output FILE       where the report goes (docs/PERFORMANCE.md)
  --from FILE         measure nothing, write the report of these results (such as target/bench/results.json)`;

export function readOptions() {
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        runs: { type: "string", default: "15" },
        "gpu-runs": { type: "string", default: "7" },
        openings: { type: "string", default: "7" },
        tokens: { type: "string", default: "256" },
        "no-torch": { type: "boolean", default: false },
        "torch-python": { type: "string" },
        "no-webgpu": { type: "boolean", default: false },
        output: { type: "string", default: "docs/PERFORMANCE.md" },
        from: { type: "string" },
        help: { type: "boolean", short: "h", default: false },
      },
    }));
  } catch (error) {
    console.error(`${error.message}\n\n${HELP}`);
    process.exit(2);
  }
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  const number = (name, least) => {
    const value = Number(values[name]);
    if (Number.isInteger(value) && value >= least) return value;
    console.error(`--${name} is ${values[name]}; give a whole number of at least ${least}.`);
    return process.exit(2);
  };
  return {
    // A median of fewer says little.
    runs: number("runs", 5),
    gpuRuns: number("gpu-runs", 5),
    openings: number("openings", 5),
    tokens: number("tokens", 64),
    torch: !values["no-torch"],
    torchPython: values["torch-python"],
    webgpu: !values["no-webgpu"],
    output: path.resolve(ROOT, values.output),
    from: values.from && path.resolve(ROOT, values.from),
    package: path.join(ROOT, "assets/model"),
  };
}
