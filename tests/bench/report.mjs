// docs/PERFORMANCE.md from the results: every figure in it comes from here.
import { percent } from "./machine.mjs";

export function render(results) {
  const { about, model, options, firstFinding, native, cpu, gpu, sizes } = results;
  const { tokens } = options;
  const parts = [
    `# Performance

Written by \`cargo xtask bench\`, which measures everything below in one run; the raw results are then in
\`target/bench/results.json\`. No figure is entered by hand. How good the findings are is another question:
see [EVALUATION.md](EVALUATION.md).

- **Machine:** ${about.processor}, ${about.cores} cores, ${gigabytes(about.memory)} of memory, ${about.system}. Other programs took
  ${percent(about.busy)} of the processor before the start. Measured on ${about.date}.
- **Browser:** Chromium ${results.chromium}, headless. Its WebGPU adapter: ${adapterText(results.adapter)}.
- **Versions:** burn ${about.versions.burn}, onnxruntime-web ${about.versions.onnxruntimeWeb}, onnxruntime ${results.exported.versions.onnxruntime}${torchVersion(native)}, Node ${about.versions.node}.
- **Model:** ${model.name} (\`${model.id}\`): ${shape(model)}.
- **Engine:** ${results.optimised ? "optimised with wasm-opt, as `cargo xtask build` makes it" : "built without wasm-opt, so slower and larger than what `cargo xtask build` makes"}.

A time is the median of n measurements, with the smallest and the largest of them. The contenders take turns, A B C A B
C, after rounds that do not count. Each is checked first: Δ is the largest difference of its logits for the package's
self-test from those that the package pins.

## Prefill of ${tokens} tokens in Chromium, on the processor

${times(cpu)}

One thread each, WebAssembly with SIMD, the same weights. A time goes from the page's question to the answer, through a
worker. Ours runs in the site's own worker files and does all that the page asks of it: it parses the source, makes the
tokens, reads ${tokens} of them behind the cached prefix of ${results.prefix}, and scores the labels and the lines. onnxruntime-web is
given ${tokens} finished tokens, with no prefix to attend to, and computes the labels alone; its graph is in plain operators, as
exporters write it, with all of its own optimisations on.
`,
    `## Prefill of ${tokens} tokens in Chromium, through WebGPU

${gpu ? `${times(gpu)}\n\n${gpuNote(results.adapter)}` : "Left out of this run (`--no-webgpu`)."}
`,
    `## From navigation to the first finding

${openings(firstFinding)}

The page on its own server on the same machine, on the processor, opened with a stored text: the sample
\`${firstFinding.sample}\` of ${firstFinding.lines} lines, ${firstFinding.units} units, all of which are judged before findings show. The sensitivity is
set so high that there is always a finding. "Empty cache" is a fresh profile; "with cache" loads the page again in it.
"Ready" is the moment when the engine has passed its self-test.
`,
    `## Bytes to fetch

${table(
  ["", "raw", "gzip", "brotli"],
  sizes.map(({ name, raw, gzip, brotli }) => [name, megabytes(raw), megabytes(gzip), megabytes(brotli)]),
)}

Files that compression shrinks by less than a twentieth are sent, and counted, as they are. The weights of the package
are ${model.dtype}, with the whole vocabulary's head and the line pointer; the ONNX models hold the labels' part of the head only.
`,
    `## Native prefill of ${tokens} tokens

${times(native)}

One thread each. Ours is built as the command line is, for any processor of this kind; the time goes from tokens to the
logits of the labels.${options.torch ? "" : " PyTorch was left out of this run (`--no-torch`)."}

## Measuring again

    cargo xtask bench                       # everything; what stands behind \`--\` is passed on to the script
    node tests/bench/run.mjs --help         # what that can be

On its first run it also makes a Python environment in \`target/bench/venv\`. Let nothing else run meanwhile.
`,
  ];
  return parts.join("\n");
}

function times(rows) {
  const ours = rows.find((row) => row.ours && !row.error);
  return table(
    ["", "weights", "median", "smallest – largest", "n", "against ours", "Δ"],
    rows.map((row) => {
      const name = row.version && !row.ours ? `${row.name} ${row.version}` : row.name;
      if (row.error) return [name, row.precision, `failed: ${oneLine(row.error)}`, "", "", "", ""];
      const relative = ours && ours !== row ? factor(ours.median / row.median) : "";
      const range = `${millis(row.min)} – ${millis(row.max)}`;
      return [name, row.precision, millis(row.median), range, row.n, relative, row.difference.toExponential(1)];
    }),
  );
}

function openings({ cold, warm }) {
  const row = (name, { median, min, max, n }) => [name, millis(median), `${millis(min)} – ${millis(max)}`, n];
  return table(
    ["", "median", "smallest – largest", "n"],
    [
      row("Empty cache: ready", cold.ready),
      row("Empty cache: first finding", cold.finding),
      row("With cache: ready", warm.ready),
      row("With cache: first finding", warm.finding),
    ],
  );
}

/** The first column is text, the others are set to the right. */
function table(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, index) => (index === 0 ? "---" : "---:"))), ...rows.map(line)].join("\n");
}

function factor(ratio) {
  return ratio >= 1 ? `${significant(ratio)} × faster` : `${significant(1 / ratio)} × slower`;
}

function millis(value) {
  return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${significant(value)} ms`;
}

/** Three digits at most; more are noise. */
function significant(value) {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(2)} MB`;
}

function gigabytes(bytes) {
  return `${Math.round(bytes / 2 ** 30)} GiB`;
}

function shape({ config, dtype }) {
  const { n_layer, n_embd, n_head, vocab_size, n_positions } = config;
  return `${n_layer} blocks, width ${n_embd}, ${n_head} heads, ${vocab_size} tokens in the vocabulary, a context of ${n_positions}, ${dtype} weights computed in f32`;
}

function adapterText(adapter) {
  if (!adapter) return "none";
  return adapter.software ? `${adapter.name}, a simulated GPU that runs on the processor` : adapter.name;
}

function gpuNote(adapter) {
  return adapter?.software
    ? "The GPU is simulated: this compares two engines on the same simulation, and says nothing about a real GPU. The page\nitself prefers the processor on such machines."
    : "Measured as above.";
}

function torchVersion(native) {
  const row = native.find(({ name, version }) => name === "PyTorch" && version);
  return row ? `, PyTorch ${row.version}` : "";
}

/** Errors are set into a table. */
function oneLine(text) {
  return text.split("\n")[0].replaceAll("|", "\\|").slice(0, 200);
}
