/**
 * The page as users meet it, in Chromium: node --test page.test.mjs with CHROMIUM, ADDRESS (of the
 * page), MODELS (a folder with HEAD.tflite files) and SHOTS (a folder for screenshots, or none).
 */
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import test, {after, before, beforeEach} from "node:test";

import {launch} from "./browser.mjs";

const {ADDRESS, MODELS, SHOTS} = process.env;
const TIMEOUT = {timeout: 60000};
const model = head => path.join(MODELS, `${head}.tflite`);
const FOLDER = fs.mkdtempSync(path.join(os.tmpdir(), "page-"));
let browser, page, requests;

before(async () => {
  browser = await launch({viewport: {width: 900, height: 900}, acceptDownloads: true});
});
after(async () => {
  await browser.close();
  fs.rmSync(FOLDER, {recursive: true});
});
beforeEach(async () => {
  await page?.close();
  page = await browser.context.newPage();
  requests = [];
  page.on("request", request => requests.push(request.url()));
  page.on("pageerror", error => assert.fail(error));
  await page.goto(ADDRESS);
});

async function open(head, file = model(head)) {
  await page.setInputFiles("#file", file);
  await page.waitForFunction(head => document.title.startsWith(`${head}.tflite`) &&
    document.getElementById("output").textContent.trim(), head, TIMEOUT);
}

async function shoot(name) {
  if (SHOTS) await page.screenshot({path: path.join(SHOTS, `web-${name}.png`), fullPage: true});
}

const output = () => page.innerText("#output");

test("each head has its form and answers", async () => {
  const titles = {
    classifier: "Classify a text", multi_label_classifier: "Find the labels of a text", token_classifier: "Label the words", encoder: "Search by meaning",
    span: "Answer a question from a document", pretraining: "Guess the missing words", regression: "Score a text",
  };
  for (const [head, title] of Object.entries(titles)) {
    await open(head);
    assert.equal(await page.innerText("#try-title"), title);
    await shoot(head);
  }
});

test("results follow what is written, and typing does not wait for them", async () => {
  await open("classifier");
  const before = await output();
  await page.fill("textarea[name=text]", "");
  await page.waitForFunction(() => !document.getElementById("output").textContent);
  await page.type("textarea[name=text]", "a wonderful, moving and very long film ".repeat(3));
  await page.waitForFunction(() => document.getElementById("output").textContent, null, TIMEOUT);
  assert.notEqual(await output(), before);
});

test("labels are those that reach their thresholds", async () => {
  await open("multi_label_classifier");
  assert.match(await output(), /Thresholds: action 75\.0 %, love 50\.0 %, war 25\.0 %/);
  const said = (await page.innerText("#output .answer")).split(", ");
  const shown = await page.evaluate(() => [...document.querySelectorAll("#output meter")].map(bar => [bar.ariaLabel, bar.value]));
  const thresholds = {action: 0.75, love: 0.5, war: 0.25};
  const wanted = shown.filter(([label, share]) => share >= thresholds[label]).map(([label]) => label);
  assert.deepEqual(new Set(said), new Set(wanted.length ? wanted : ["No label: none reaches its threshold."]));
});

test("a text that is too long is cut, and the page says so", async () => {
  await open("classifier");
  await page.fill("textarea[name=text]", "word ".repeat(2000));
  await page.waitForFunction(() => /left out/.test(document.getElementById("notice").textContent), null, TIMEOUT);
});

test("a document of any length is read in windows", async () => {
  await open("span");
  await page.fill("textarea[name=pair]", "The river begins at a spring. ".repeat(300));
  await page.waitForFunction(() => /Read in \d\d+ windows/.test(document.getElementById("output").textContent), null, TIMEOUT);
});

test("a question that is too long is cut, and the page says so", async () => {
  await open("span");
  await page.fill("input[name=text]", "where ".repeat(100));
  await page.waitForFunction(() => document.getElementById("notice").textContent ===
    "The question is too long for the model (64 tokens): its last 36 tokens are left out.", null, TIMEOUT);
});

test("a line of a search that is too long is cut, and the page says so", async () => {
  await open("encoder");
  await page.fill("textarea[name=texts]", `short\n${"word ".repeat(400)}`);
  await page.waitForFunction(() => /^The query or a line is too long .* left out/.test(document.getElementById("notice").textContent), null, TIMEOUT);
});

test("labelled words are marked in the text as it was written", async () => {
  await open("token_classifier");
  const text = "Zoë 👩‍👧 met  Ünal — in\nBerlin.";
  await page.fill("textarea[name=text]", text);
  await page.waitForFunction(() => document.querySelector("#output .text")?.textContent.includes("Zoë"), null, TIMEOUT);
  const shown = await page.evaluate(() => {
    const copy = document.querySelector("#output .text").cloneNode(true);
    copy.querySelectorAll(".tag").forEach(tag => tag.remove());
    return copy.textContent;
  });
  assert.equal(shown, text);
});

test("text is never read as HTML", async () => {
  await open("token_classifier");
  await page.fill("textarea[name=text]", "<img src=x onerror=alert(1)> & <b>bold</b>");
  await page.waitForFunction(() => document.querySelector("#output .text")?.textContent.includes("alert"), null, TIMEOUT);
  assert.equal(await page.locator("#output img, #output b").count(), 0);
});

test("foreign and damaged files give a line, and the page goes on", async () => {
  const whole = fs.readFileSync(model("classifier"));
  const files = {
    "photo.jpg": Buffer.from("not a model at all"), "empty.tflite": Buffer.alloc(0),
    "cut.tflite": whole.subarray(0, 2000), "half.tflite": whole.subarray(0, whole.length / 2),
    "no-archive.tflite": Buffer.concat([whole.subarray(0, whole.length - 22), Buffer.alloc(22)]),
  };
  for (const [name, buffer] of Object.entries(files)) {
    await page.setInputFiles("#file", {name, mimeType: "application/octet-stream", buffer});
    await page.waitForFunction(name => document.getElementById("problem").textContent.includes(name), name, TIMEOUT);
    assert.equal(await page.isVisible("#problem"), true);
  }
  await shoot("damaged");
  await open("classifier");
  assert.equal(await page.isVisible("#problem"), false);
});

test("a file dropped on the page is opened", async () => {
  const content = fs.readFileSync(model("classifier")).toString("base64");
  await page.evaluate(content => {
    const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt());
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], "dropped.tflite"));
    document.body.dispatchEvent(new DragEvent("dragover", {dataTransfer, bubbles: true}));
    document.body.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true}));
  }, content);
  await page.waitForSelector("#output > *", TIMEOUT);
  assert.match(await page.innerText("#status"), /^$/);
});

test("text that is dragged is left to the fields", async () => {
  const prevented = kind => page.evaluate(kind => ["dragover", "drop"].map(name => {
    const dataTransfer = new DataTransfer();
    if (kind === "text") dataTransfer.setData("text/plain", "a text");
    else dataTransfer.items.add(new File(["no model"], "dropped.txt"));
    return !document.body.dispatchEvent(new DragEvent(name, {dataTransfer, bubbles: true, cancelable: true}));
  }), kind);
  assert.deepEqual(await prevented("text"), [false, false]);
  assert.deepEqual(await prevented("file"), [true, true]);
});

test("the same file can be chosen again after it was exported again", async () => {
  const file = path.join(FOLDER, "again.tflite");
  for (const head of ["classifier", "regression"]) {
    fs.copyFileSync(model(head), file);
    const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.click("#file")]);
    await chooser.setFiles(file);
    await page.waitForFunction(head => document.getElementById("facts").textContent.includes(`again.tfliteKind${head}`), head, TIMEOUT);
    assert.deepEqual(await page.evaluate(() => document.getElementById("file").files.length), 0);
  }
});

test("a model of pairs opens with an example of two texts, and wants both", async () => {
  const classifier = fs.readFileSync(model("classifier")).toString("latin1");
  const old = '"sequence_length": null', buffer = Buffer.from(classifier.replace(old, '"pairs": true'.padEnd(old.length)), "latin1");
  await open("pairs", {name: "pairs.tflite", mimeType: "application/octet-stream", buffer});
  assert.equal(await page.isVisible("#problem"), false);
  assert.equal(await page.innerText("label:has([name=pair])"), "Second text");
  await page.fill("textarea[name=pair]", " ");
  await page.waitForFunction(() => /write the second text/.test(document.getElementById("problem").textContent), null, TIMEOUT);
  assert.equal(await output(), "");
  await page.fill("textarea[name=pair]", "Or so.");
  await page.waitForFunction(() => document.getElementById("output").textContent, null, TIMEOUT);
  assert.equal(await page.isVisible("#problem"), false);
  await open("classifier");
  assert.equal(await page.innerText("label:has([name=pair])"), "Second text, if the model compares two");
});

test("over plain HTTP from another device the page says that HTTPS is missing, and goes on", async () => {
  await page.goto(ADDRESS.replace("127.0.0.1", "another.test"));
  await open("classifier");
  assert.match(await page.innerText("#facts"), /1: the page does not come over HTTPS/);
});

test("the benchmark draws its chart and saves the schema of mobilebert_tf.benchmark", async () => {
  await open("classifier");
  await page.fill("[name=lengths]", "16,48");
  await page.fill("[name=runs]", "5");
  await page.click("#measure button");
  await page.waitForSelector("#figures svg", TIMEOUT);
  await shoot("benchmark");
  assert.equal(await page.locator("#figures tbody tr").count(), await page.locator("#figures circle").count());
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#figures a")]);
  const report = JSON.parse(fs.readFileSync(await download.path(), "utf8"));
  assert.deepEqual(Object.keys(report), ["machine", "date", "versions", "files", "latency", "thermal"]);
  assert.deepEqual(report.thermal, {before: null, after: null, noisy: false});
  assert.equal(await page.locator("#figures .doubt").count(), 0);
  assert.deepEqual(Object.keys(report.files[0]), ["file", "bytes", "load_ms", "resize_ms", "peak_mb", "memory_mb"]);
  for (const row of report.latency) {
    assert.ok(0 < row.p50_ms && row.p50_ms <= row.p90_ms && row.p90_ms <= row.p99_ms, JSON.stringify(row));
  }
  assert.deepEqual([...new Set(report.latency.map(row => row.tokens))], [16, 48]);
});

test("a benchmark keeps the screen on; figures from behind another tab are in doubt", async () => {
  await open("classifier");
  await page.evaluate(() => {
    window.asked = [];
    navigator.wakeLock.request = async kind => (asked.push(kind), {release: () => asked.push("released")});
    new MutationObserver((_, watch) => { // at the first word on progress
      watch.disconnect();
      Object.defineProperty(document, "hidden", {value: true, configurable: true});
      document.dispatchEvent(new Event("visibilitychange"));
      delete document.hidden;
    }).observe(document.getElementById("progress"), {childList: true});
  });
  await page.click("#measure button");
  await page.waitForSelector("#figures .doubt", TIMEOUT);
  assert.deepEqual(await page.evaluate(() => asked), ["screen", "released"]);
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#figures a")]);
  assert.equal(JSON.parse(fs.readFileSync(await download.path(), "utf8")).thermal.noisy, true);
});

test("wrong settings of the benchmark give a line", async () => {
  await open("classifier");
  const wrong = [["threads", "500", /500 is more than/], ["lengths", "16,x", /whole numbers/], ["lengths", "9999", /9999 is more than 384/]];
  for (const [name, value, problem] of wrong) {
    await page.fill("[name=threads]", "1");
    await page.fill(`[name=${name}]`, value);
    await page.click("#measure button");
    await page.waitForFunction(source => new RegExp(source).test(document.getElementById("problem").textContent), problem.source);
  }
});

test("the keyboard alone does it all", async () => {
  const [chooser] = await Promise.all([
    page.waitForEvent("filechooser"),
    (async () => {
      await page.keyboard.press("Tab");
      assert.equal(await page.evaluate(() => document.activeElement.id), "file");
      await page.keyboard.press("Enter");
    })(),
  ]);
  await chooser.setFiles(model("classifier"));
  await page.waitForSelector("#output > *", TIMEOUT);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("good");
  const visited = [];
  for (let i = 0; i < 12 && visited.at(-1) !== "BUTTON"; i++) {
    await page.keyboard.press("Tab");
    visited.push(await page.evaluate(() => document.activeElement.name || document.activeElement.tagName));
  }
  assert.deepEqual(visited, ["pair", "lengths", "threads", "warmUp", "runs", "BUTTON"]);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#figures svg", TIMEOUT);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Save as JSON");
});

test("everything that takes text has a label, and status lines are announced", async () => {
  for (const head of ["classifier", "span", "encoder"]) {
    await open(head);
    const unlabelled = await page.evaluate(() => [...document.querySelectorAll("input, textarea")]
      .filter(field => !field.labels.length).length);
    assert.equal(unlabelled, 0);
  }
  assert.equal(await page.locator("[role=alert], [role=status]").count(), 4);
});

test("a narrow screen needs no scrolling sideways", async () => {
  await page.setViewportSize({width: 320, height: 640});
  for (const head of ["classifier", "token_classifier", "span", "encoder"]) {
    await open(head);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), head);
  }
  await page.click("#measure button");
  await page.waitForSelector("#figures svg", TIMEOUT);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await shoot("narrow");
});

test("dark, and text from right to left", async () => {
  await page.emulateMedia({colorScheme: "dark"});
  await open("token_classifier");
  await page.fill("textarea[name=text]", "עדה לאבלייס נולדה בלונדון.");
  await page.waitForFunction(() => document.querySelector("#output .text")?.textContent.includes("בלונדון"), null, TIMEOUT);
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector("#output .text")).direction), "rtl");
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(22, 24, 27)");
  await shoot("dark");
});

test("nothing is asked of another server", async () => {
  await open("classifier");
  await page.click("#measure button");
  await page.waitForSelector("#figures svg", TIMEOUT);
  const {origin} = new URL(ADDRESS);
  assert.ok(requests.length > 5);
  const elsewhere = requests.filter(url => !url.startsWith(origin) && !/^(data|blob):/.test(url));
  assert.deepEqual(elsewhere, []);
  assert.equal(await page.evaluate(() => crossOriginIsolated), true);
});
