// node pieces.mjs URL < {"vocabulary", "lower_case", "texts", "special_tokens"} > [{ids, spans}], in
// Chromium; spans in UTF-16 units.
import fs from "node:fs";
import {launch} from "./browser.mjs";

const [url] = process.argv.slice(2), asked = JSON.parse(fs.readFileSync(0));
const {context, close} = await launch();
const page = await context.newPage();
await page.goto(url);
const found = await page.evaluate(async ({vocabulary, lower_case, texts, special_tokens}) => {
  const {WordPiece} = await import("./js/wordpiece.js");
  const tokenizer = new WordPiece(vocabulary, lower_case);
  return texts.map(text => tokenizer.tokenize(text, special_tokens));
}, asked);
console.log(JSON.stringify(found));
await close();
