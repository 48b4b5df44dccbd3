/** The page's modules make what the golden files say; tests/goldens/README.md describes them. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";

import {cutDocument, fit, pack} from "../../web_demo/js/features.js";
import {bestAnswer, candidates, chosen, entities, rank, softmax, words} from "../../web_demo/js/results.js";
import {latencyRow} from "../../web_demo/js/statistics.js";
import {tags, tagScheme} from "../../web_demo/js/tags.js";
import {InputError, openTflite} from "../../web_demo/js/tflite_file.js";
import {WordPiece} from "../../web_demo/js/wordpiece.js";

const read = name => JSON.parse(
  fs.readFileSync(path.join(import.meta.dirname, `../goldens/${name}.json`), "utf8"));
const {vocabulary} = read("tokenizer");
const uncased = new WordPiece(vocabulary, true), cased = new WordPiece(vocabulary, false);
const accented = new WordPiece(vocabulary, true, false);

/** A test for each case of a file. */
function golden(name, check) {
  const {cases, ...shared} = read(name);
  for (const {name: about, given, expected} of cases) {
    test(`${name}: ${about}`, () => check(given, expected, shared));
  }
}

/** The golden files count code points, JavaScript UTF-16 units. */
function codePoints(text, place) {
  return Array.from(text.slice(0, place)).length;
}

const places = (text, spans, end) => spans.map(span => codePoints(text, span[end]));

/** Equal, numbers within 1e-6; of the actual value only what is expected. */
function assertClose(actual, expected, about = "") {
  if (typeof expected === "number") {
    assert.ok(Math.abs(actual - expected) < 1e-6, `${about}: ${actual}, not ${expected}`);
  } else if (expected === null || typeof expected !== "object") {
    assert.equal(actual, expected, about);
  } else {
    if (Array.isArray(expected)) assert.equal(actual.length, expected.length, about);
    for (const key of Object.keys(expected)) assertClose(actual[key], expected[key], `${about}/${key}`);
  }
}

/** With places as the golden files count them. */
function counted(text, stretches) {
  return stretches.map(stretch => ({
    ...stretch, start: codePoints(text, stretch.start), end: codePoints(text, stretch.end)}));
}

golden("tokenizer", ({text, lower_case, strip_accents, special_tokens}, expected) => {
  const tokenizer = lower_case ? strip_accents ? uncased : accented : cased;
  const {ids, spans} = tokenizer.tokenize(text, special_tokens);
  const found = {ids, starts: places(text, spans, "start"), ends: places(text, spans, "end")};
  assertClose(found, expected);
});

golden("features", ({text, pair, max_tokens}, expected) => {
  const second = pair === null ? null : uncased.tokenize(pair).ids;
  const kept = fit(uncased.tokenize(text).ids, second, max_tokens ?? Infinity);
  const {ids, segments} = pack(uncased, kept.first, kept.second);
  const found = {input_ids: [...ids], segment_ids: [...segments], dropped: kept.dropped};
  const {input_mask, ...wanted} = expected; // the engine makes the mask: as many ones as tokens
  assert.deepEqual(found, wanted);
  assert.equal(input_mask.length, ids.length);
});

golden("windows", ({question, document, length}, {windows}) => {
  const {windows: found} = cutDocument(uncased, question, document, length);
  assert.equal(found.length, windows.length);
  found.forEach(({features, begin, spans, isBest}, i) => {
    const around = (values, other) => // [CLS] question [SEP] before them, [SEP] behind
      [...Array(begin).fill(other), ...values, other];
    assert.deepEqual({
      input_ids: [...features.ids],
      segment_ids: [...features.segments],
      starts: around(places(document, spans, "start"), -1),
      ends: around(places(document, spans, "end"), -1),
      max_context: around(isBest.map(Number), 0),
    }, windows[i]);
  });
});

golden("softmax", ({logits}, expected) => assertClose(softmax(logits), expected));

golden("answers", ({question, document, length, best, null_threshold, ...logits}, expected) => {
  const windows = cutDocument(uncased, question, document, length).windows.map((window, i) => (
    {...window, startLogits: logits.start_logits[i], endLogits: logits.end_logits[i]}));
  const {candidates, ...found} = bestAnswer(document, windows, best, null_threshold);
  const picked = ({text, start, end, probability}) => ({text, start, end, probability});
  assertClose(counted(document, [found])[0], picked(expected));
  assertClose(counted(document, candidates), expected.best.map(picked));
});

golden("tags", ({labels, words}, {scheme: name, kinds, bio}) => {
  const scheme = tagScheme(labels);
  assert.equal(scheme.name, name);
  assert.deepEqual(new Set([...scheme.marks.values()].map(({kind}) => kind)), new Set(kinds));
  assert.equal(scheme.hasEntities, kinds.length > 0);
  const found = tags(scheme, words).map(tag => tag ? `${tag.begins ? "B" : "I"}-${tag.kind}` : "O");
  assert.deepEqual(found, bio);
});

golden("multi_label", ({probability, thresholds}, expected, {labels}) =>
  assert.deepEqual(chosen(labels, new Float32Array(probability), thresholds), expected));

golden("labels", ({text, labels, probabilities}, expected) => {
  const {ids, spans} = uncased.tokenize(text);
  const found = words(text, ids.map(id => vocabulary[id]), spans, probabilities, labels, []);
  assertClose(counted(text, found), expected.words);
  assertClose(counted(text, entities(text, found, tagScheme(labels))), expected.entities);
});

golden("words", ({text, joiners, probabilities}, expected, {labels}) => {
  const {ids, spans} = uncased.tokenize(text);
  const found = words(text, ids.map(id => vocabulary[id]), spans, probabilities, labels, joiners);
  assertClose(counted(text, found), expected);
});

golden("masks", ({logits, top}, {masks}) =>
  assertClose(logits.map(row => candidates(row, vocabulary, top)), masks));

golden("embeddings", ({query, vectors}, {cosines, order}) => {
  const found = rank(query, vectors);
  assert.deepEqual(found.map(({place}) => place), order);
  assertClose(found.map(({score}) => score), order.map(place => cosines[place]));
});

golden("model_files", ({content}, expected) => {
  const open = () => openTflite("m.tflite", new Uint8Array(Buffer.from(content, "base64")));
  if (expected === null) return assert.throws(open, error => error instanceof InputError && !/\n/.test(error.message));
  const file = open();
  assertClose({
    ...file, lower_case: file.lowerCase, strip_accents: file.stripAccents,
    max_tokens: file.maxTokens,
    sequence_length: file.sequenceLength ?? null, fixed_length: file.graph.fixedLength,
  }, expected);
});

golden("latency", ({milliseconds}, expected) =>
  assertClose(latencyRow(milliseconds, 8, 1), expected));
