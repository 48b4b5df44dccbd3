// CHROMIUM=... node drive.mjs < {"files": [{path, samples}]} > {path: {outputs} or {refused}}
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import {launch} from "../../web/browser.mjs";

const modules = path.join(import.meta.dirname, "../../../web_demo"); // holds node_modules
const asked = JSON.parse(fs.readFileSync(0));
const TYPES = {".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm"};

function answer(request, response) {
  const asks = decodeURIComponent(new URL(request.url, "http://x").pathname);
  let file = path.join(modules, asks);
  if (asks === "/page.html") file = path.join(import.meta.dirname, "page.html");
  if (asks.startsWith("/file/")) file = asked.files[Number(asks.slice(6))].path;
  if (!fs.existsSync(file)) return response.writeHead(404).end();
  response.writeHead(200, {"content-type": TYPES[path.extname(file)] ?? "application/octet-stream"});
  fs.createReadStream(file).pipe(response);
}

const server = http.createServer(answer);
await new Promise(done => server.listen(0, "127.0.0.1", done));
const {context, close} = await launch();
const page = await context.newPage();
await page.goto(`http://127.0.0.1:${server.address().port}/page.html`);
await page.waitForFunction(() => window.ready, null, {timeout: 120000});
const found = {};
for (const [index, file] of asked.files.entries()) {
  found[file.path] = await page.evaluate(
    ([url, samples]) => window.run(url, samples), [`/file/${index}`, file.samples]);
}
console.log(JSON.stringify(found));
await close();
server.close();
