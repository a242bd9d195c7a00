// The Python of the peers: an environment of its own below target/, with pinned packages.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { WORK } from "./options.mjs";

const PEERS = fileURLToPath(new URL("./peers/", import.meta.url));
const IN_ENVIRONMENT = process.platform === "win32" ? "Scripts/python.exe" : "bin/python";

/** Programs: `base` for ONNX, and `torch`, null where PyTorch is left out. */
export function preparePython({ torch, torchPython }) {
  const own = torch && !torchPython;
  const base = environment(own ? "requirements-torch.txt" : "requirements.txt");
  return { base, torch: torch ? (torchPython ?? base) : null };
}

/** Writes the models and gives back what the script says of them. */
export function exportModels(python, source) {
  return JSON.parse(run(python, [script("export.py"), source, WORK], "pipe"));
}

/** The path of a script of the peers. */
export function script(name) {
  return path.join(PEERS, name);
}

/** The Python of an environment that holds these packages, made or renewed where it does not. */
function environment(requirements) {
  const folder = path.join(WORK, "venv");
  const python = path.join(folder, IN_ENVIRONMENT);
  const stamp = path.join(folder, "installed");
  const wanted = fingerprint(requirements);
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return python;
  rmSync(folder, { recursive: true, force: true });
  const help = "Install Python 3.11 or newer with its venv module (on Debian: python3-venv), or name it in PYTHON.";
  run(process.env.PYTHON ?? "python3", ["-m", "venv", folder], "inherit", help);
  const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", script(requirements)];
  run(python, pip, "inherit", "Check that the package index can be reached. PyTorch can be left out: --no-torch.");
  writeFileSync(stamp, wanted);
  return python;
}

function fingerprint(requirements) {
  const hash = createHash("sha256").update(requirements);
  for (const name of ["requirements.txt", "requirements-torch.txt"]) hash.update(readFileSync(script(name)));
  return hash.digest("hex");
}

/** Runs a program to its end and gives back what it prints, or ends with `help`. */
export function run(program, args, output, help = "Its own messages stand above.") {
  const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1" };
  const stdio = ["ignore", output === "pipe" ? "pipe" : "inherit", "inherit"];
  const result = spawnSync(program, args, { stdio, env, encoding: "utf8", maxBuffer: 1 << 28 });
  if (result.error || result.status !== 0) {
    const why = result.error ? result.error.message : `it ended with ${result.status ?? result.signal}`;
    throw new Error(`${[path.basename(program), ...args].join(" ")} failed: ${why}. ${help}`);
  }
  return result.stdout;
}
