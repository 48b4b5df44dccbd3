// node answers.mjs URL < {"files": [{path, calls: [{call, asked}]}]} > {path: [results]} or {path: {refused}}
// What the page's own modules answer, in Chromium.
import fs from "node:fs";
import {launch} from "./browser.mjs";

const [url] = process.argv.slice(2), {files} = JSON.parse(fs.readFileSync(0));
const {context, close} = await launch();
const page = await context.newPage();
const found = {};
for (const {path, calls} of files) {
  await page.goto(url);
  await page.setInputFiles("#file", path);
  found[path] = await page.evaluate(async calls => {
    const {Client} = await import("./js/client.js");
    const client = new Client(), [file] = document.getElementById("file").files;
    try {
      await client.call("open", {name: file.name, bytes: new Uint8Array(await file.arrayBuffer())});
      const results = [];
      for (const {call, asked} of calls) results.push(await client.call(call, asked));
      return results;
    } catch (error) {
      return {refused: error.message};
    }
  }, calls);
}
console.log(JSON.stringify(found));
await close();
