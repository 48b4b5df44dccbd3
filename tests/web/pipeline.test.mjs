/** What the page's modules make of files and texts, with an engine that only plays a model. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";

import {inView} from "../../web_demo/js/in_view.js";
import {Pipeline} from "../../web_demo/js/pipeline.js";
import {InputError, openTflite} from "../../web_demo/js/tflite_file.js";
import {VIEWS} from "../../web_demo/js/views.js";

const {cases} = JSON.parse(fs.readFileSync(path.join(import.meta.dirname, "../goldens/model_files.json"), "utf8"));

/** A golden file's bytes, perhaps with a text in it replaced by another one, which must not be longer. */
function bytes(name, old = "", other = "") {
  const {content} = cases.find(each => each.name === name).given;
  const text = Buffer.from(content, "base64").toString("latin1");
  assert.ok(text.includes(old) && other.length <= old.length);
  return new Uint8Array(Buffer.from(text.replaceAll(old, other.padEnd(old.length)), "latin1"));
}

const opened = (...file) => openTflite("m.tflite", bytes(...file));

/** A pipeline with a file, of which some properties are others. */
function pipeline(file, changes, outputs) {
  return new Pipeline({file: {...file, ...changes}, run: async () => outputs});
}

const refused = (run, message) => assert.rejects(run, error => error instanceof InputError && message.test(error.message));

const CLASSIFIER = opened("classifier, length None");

test("a model of pairs wants the second text, as Python's does", async () => {
  const outputs = {probability: {data: [0.25, 0.75]}};
  const ofPairs = pipeline(opened("classifier of pairs, length None"), {}, outputs);
  await refused(ofPairs.run({text: "good"}), /^the model was trained on pairs of texts: write the second text$/);
  await refused(ofPairs.run({text: "good", pair: " \n"}), /second text/);
  assert.equal((await ofPairs.run({text: "good", pair: "bad"})).label, "good");
  assert.equal((await pipeline(CLASSIFIER, {}, outputs).run({text: "good"})).label, "good");
});

test("labels for another number of classes are refused", () => {
  for (const kind of ["classifier", "multi_label_classifier", "token_classifier"]) {
    const name = `${kind}, length None`, found = opened(name).labels.length;
    const renamed = () => opened(name, "labels.txt", "lobels.txt");
    assert.throws(renamed, new InputError(`m.tflite names 0 classes, the model has ${found}`));
  }
  const fewer = () => opened("classifier, length 16", "bad\ngood\n", "bad good\n");
  assert.throws(fewer, new InputError("m.tflite names 1 classes, the model has 2"));
});

const SPAN = opened("span, length None");
const NO_ANSWER = {start_logits: {data: new Float32Array(512)}, end_logits: {data: new Float32Array(512)}};

test("a question beyond a sixth of the tokens is cut, and how much is said", async () => {
  const asked = {text: "the ".repeat(12), pair: "an answer"};
  const {dropped, longest} = await pipeline(SPAN, {maxTokens: 60}, NO_ANSWER).run(asked);
  assert.deepEqual({dropped, longest}, {dropped: 2, longest: 10});
  assert.equal((await pipeline(SPAN, {maxTokens: 72}, NO_ANSWER).run(asked)).dropped, 0);
});

test("tokens without room for a document are refused", async () => {
  const asked = {text: "the", pair: "an answer"};
  for (const maxTokens of [3, 4]) {
    await refused(pipeline(SPAN, {maxTokens}, NO_ANSWER).run(asked), /no room for the text.*longest question \(1 tokens\)/);
  }
  assert.equal((await pipeline(SPAN, {maxTokens: 5}, NO_ANSWER).run(asked)).windows, 2);
});

test("a search says how many tokens of the query and the lines were left out, those from before too", async () => {
  const encoder = pipeline(opened("encoder, length None"), {maxTokens: 6}, {embedding: {data: [1, 2]}});
  const asked = {query: "the a an", texts: ["of", "the ".repeat(7), "of", "an ".repeat(5)]}, said = [];
  for (let turn = 0; turn < 2; turn++) {
    const {found, dropped} = await encoder.search(asked, message => said.push(message));
    assert.equal(dropped, 3 + 1);
    assert.deepEqual(found.map(({text}) => text), asked.texts);
  }
  assert.deepEqual(said, [0, 1, 2, 3].map(done => `${done} of 4 texts`));
});

test("labels that are numbers stay in the file's order", async () => {
  const outputs = {probability: {data: [0.25, 0.75]}}, labels = ["10", "2"];
  const {probabilities} = await pipeline(CLASSIFIER, {labels}, outputs).run({text: "the"});
  assert.deepEqual(probabilities, [["10", 0.25], ["2", 0.75]]);
  const several = pipeline(opened("multi_label_classifier, length None"), {labels}, outputs);
  assert.deepEqual((await several.run({text: "the"})).thresholds, [["10", 0.25], ["2", 1]]);
});

test("bars stand in the order that they were given in", () => {
  globalThis.document = {createElement: name => {
    const found = {name, children: [], append: (...children) => found.children.push(...children), setAttribute() {}};
    return found;
  }};
  const [group] = VIEWS.masked_lm.show({masks: [[{token: "year", probability: 0.5}, {token: "1878", probability: 0.25}]]});
  const [, bars] = group.children;
  assert.deepEqual(bars.children.filter(({name}) => name === "span").flatMap(({children}) => children), ["year", "50.0 %", "1878", "25.0 %"]);
});

test("a [MASK] that is cut off is not said to be missing", async () => {
  const outputs = {mlm_logits: {data: new Float32Array(6 * 9), shape: [1, 6, 9]}};
  const masked = pipeline(CLASSIFIER, {kind: "masked_lm", maxTokens: 6}, outputs);
  await refused(masked.run({text: "the a an of the [MASK]"}),
    /^the text is too long for the model \(6 tokens\): its \[MASK\] is left out$/);
  await refused(masked.run({text: "the a an of the"}), /write \[MASK\]/);
  const {masks, dropped} = await masked.run({text: "the a an [MASK] the [MASK]"});
  assert.deepEqual([masks.length, dropped], [1, 2]);
});

test("what runs out of view is known, also where no screen can be kept on", async () => {
  globalThis.document = Object.assign(new EventTarget(), {hidden: false});
  const turn = hidden => {
    document.hidden = hidden;
    document.dispatchEvent(new Event("visibilitychange"));
  };
  const refuses = {request: async () => { throw new Error("the battery is low"); }};
  for (const wakeLock of [undefined, refuses]) {
    Object.defineProperty(globalThis, "navigator", {value: {wakeLock}, configurable: true});
    assert.deepEqual(await inView(async () => 7), {result: 7, hidden: false});
    const away = inView(async () => {
      turn(true);
      turn(false);
    });
    assert.equal((await away).hidden, true);
    await assert.rejects(inView(async () => { throw new Error("no"); }), /no/);
  }
});
