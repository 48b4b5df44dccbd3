// node answers.mjs URL < {"files": [{path, calls: [{call, asked}]}]} > {path: [results]} or {path: {refused}}
// What the page's own modules answer, in Chromium.
import fs from "node:fs";
import {launch} from "./browser.mjs";

const [url] = process.argv.slice(2), {files} = JSON.parse(fs.readFileSync(0));
const {context, close} = await launch();
const page = await context.newPage();
await page.goto(url);
await page.evaluate(async () => {
  const {Client} = await import("./js/client.js");
  window.Client = Client;
  const input = Object.assign(document.createElement("input"), {type: "file", id: "given"});
  document.body.append(input); // beside the page's own, which would open the file too
});
const found = {};
for (const {path, calls} of files) {
  await page.setInputFiles("#given", path);
  found[path] = await page.evaluate(async calls => {
    const [file] = document.getElementById("given").files, client = new Client();
    try {
      await client.call("open", {name: file.name, bytes: new Uint8Array(await file.arrayBuffer())});
      const results = [];
      for (const {call, asked} of calls) results.push(await client.call(call, asked));
      return results;
    } catch (error) {
      return {refused: error.message};
    } finally {
      client.end();
    }
  }, calls);
}
console.log(JSON.stringify(found));
await close();
