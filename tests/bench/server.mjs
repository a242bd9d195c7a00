// One origin for the engines that are compared: the site, onnxruntime-web, the ONNX models and the page that times
// them. It has no policy of its own, because onnxruntime-web could not start under the site's.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT, WORK } from "./options.mjs";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

export const ONNXRUNTIME = path.join(ROOT, "web/node_modules/onnxruntime-web/dist");

export async function startServer(site) {
  const folders = {
    bench: fileURLToPath(new URL("./page/", import.meta.url)),
    site,
    onnxruntime: ONNXRUNTIME,
    models: WORK,
  };
  const server = createServer((request, response) => {
    answer(folders, new URL(request.url, "http://localhost").pathname, response).catch(() => {
      response.writeHead(404).end();
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://localhost:${server.address().port}/bench/index.html`;
  return { url, close: () => server.close() };
}

async function answer(folders, address, response) {
  const [, first, ...rest] = decodeURIComponent(address).split("/");
  if (!Object.hasOwn(folders, first) || rest.includes("..")) throw new Error("outside");
  const file = path.join(folders[first], ...rest);
  const { size } = await stat(file);
  const type = TYPES[path.extname(file)] ?? "application/octet-stream";
  response.writeHead(200, { "Content-Type": type, "Content-Length": size, "Cache-Control": "no-store" });
  createReadStream(file).pipe(response);
}
