// Packages for the tests, made of the shipped one: the same weights, cut into more shards.
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const SHIPPED = new URL("../../assets/model/", import.meta.url);

const entry = (file, content) => ({
  file,
  bytes: content.length,
  sha256: createHash("sha256").update(content).digest("hex"),
});

/** The tensors of a shard, each with its bytes, in the order of the file. */
function tensorsOf(shard) {
  const length = Number(shard.readBigUInt64LE(0));
  const header = JSON.parse(shard.subarray(8, 8 + length).toString("utf8"));
  const data = shard.subarray(8 + length);
  return Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, { dtype, shape, data_offsets }]) => ({
      name,
      dtype,
      shape,
      bytes: data.subarray(...data_offsets),
    }))
    .sort((a, b) => a.bytes.byteOffset - b.bytes.byteOffset);
}

function shardOf(tensors) {
  const header = {};
  let at = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    header[name] = { dtype, shape, data_offsets: [at, at + bytes.length] };
    at += bytes.length;
  }
  const text = JSON.stringify(header);
  const padded = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, padded, ...tensors.map(({ bytes }) => bytes)]);
}

/**
 * Writes a package into a folder `name` of its own and returns the folder, the names of its files beside
 * model.json, and what removes it. `change` may alter the manifest before it is written.
 */
export async function makePackage(name, { shards = 4, change = () => {} } = {}) {
  const manifest = JSON.parse(await readFile(new URL("model.json", SHIPPED), "utf8"));
  const tensors = [];
  for (const { file } of manifest.weights.shards)
    tensors.push(...tensorsOf(await readFile(new URL(file, SHIPPED))));
  const parent = await mkdtemp(join(tmpdir(), "cloister-"));
  const folder = join(parent, name);
  await mkdir(folder);
  const tokenizer = await readFile(new URL(manifest.tokenizer.file, SHIPPED));
  await writeFile(join(folder, manifest.tokenizer.file), tokenizer);
  manifest.id = name;
  manifest.name = `Model ${name}`;
  manifest.weights.shards = [];
  // By tensors and not by bytes: that the shards differ in size is as it should be.
  const each = Math.ceil(tensors.length / shards);
  for (let n = 0; n * each < tensors.length; n += 1) {
    const content = shardOf(tensors.slice(n * each, (n + 1) * each));
    const file = `weights-${n + 1}.safetensors`;
    await writeFile(join(folder, file), content);
    manifest.weights.shards.push(entry(file, content));
  }
  change(manifest);
  await writeFile(join(folder, "model.json"), JSON.stringify(manifest));
  const files = [manifest.tokenizer, ...manifest.weights.shards].map(({ file }) => file);
  return { folder, files, remove: () => rm(parent, { recursive: true }) };
}
