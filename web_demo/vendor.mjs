// Copies LiteRT.js out of node_modules into vendor/, so that this folder works from any static
// server, and in a worker, where there is no import map.
import fs from "node:fs";

const core = "node_modules/@litertjs/core", utilities = "node_modules/@litertjs/wasm-utils";
const {version} = JSON.parse(fs.readFileSync(`${core}/package.json`));
const source = fs.readFileSync(`${core}/dist/index.js`, "utf8");
fs.rmSync("vendor", {recursive: true, force: true});
fs.cpSync(`${core}/wasm`, "vendor/wasm", {recursive: true});
fs.cpSync(`${utilities}/dist/index.js`, "vendor/wasm-utils.js");
fs.writeFileSync("vendor/litert.js",
  source.replace('"@litertjs/wasm-utils"', '"./wasm-utils.js"') + `\nexport const version = "${version}";\n`);
