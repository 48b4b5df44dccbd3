/** A .tflite file made by export/to_tflite.py: its graph, and what travels with it. */

import {readGraph} from "./flatbuffer.js";
import {readZip} from "./zip.js";

const SEVERAL_LABELS = "multi_label_classifier";
const KINDS = ["pretraining", "masked_lm", "classifier", SEVERAL_LABELS, "next_sentence", "regression",
  "multiple_choice", "token_classifier", "span", "encoder"];
// The output that has a number for each label.
const BY_LABEL = {
  classifier: "probability", [SEVERAL_LABELS]: "probability", next_sentence: "probability",
  token_classifier: "token_probability",
};
// Of a file that names none.
const USUAL_THRESHOLD = 0.5;

/** What the user can mend: the message says what is wrong with the file or the text. */
export class InputError extends Error {}

/**
 * @typedef {object} TfliteFile
 * @property {string} name
 * @property {Uint8Array} bytes
 * @property {import("./flatbuffer.js").Graph} graph
 * @property {string} kind of the model's head, one of KINDS
 * @property {string[]} vocabulary
 * @property {string[]} labels
 * @property {number[]} thresholds for each label of a multi_label_classifier the probability from
 *   which on a text has it; else none
 * @property {boolean} lowerCase
 * @property {boolean} stripAccents
 * @property {number} maxTokens the longest sequence that it takes
 * @property {?number} sequenceLength tokens that the head was trained on; null if any
 * @property {?boolean} pairs whether the head was trained on pairs of texts; null if unknown
 * @property {string[]} joiners of the words that it was trained on, see joiners.js
 */

/**
 * @param {string} name
 * @param {Uint8Array} bytes
 * @returns {TfliteFile}
 * @throws {InputError} for a file that is damaged, foreign, or that LiteRT.js cannot read
 */
export function openTflite(name, bytes) {
  const graph = attempt(name, () => readGraph(bytes));
  const files = attempt(name, () => readZip(bytes));
  const lines = file => (files.get(file) ?? "").split("\n").slice(0, -1);
  const settings = attempt(name, () => JSON.parse(files.get("mobilebert.json") ?? "null"));
  const vocabulary = lines("vocab.txt");
  const joiners = settings?.joiners ?? [];
  const areTexts = Array.isArray(joiners) && joiners.every(joiner => typeof joiner === "string");
  const isWhole = vocabulary.length && settings?.kind && settings.max_tokens > 0 && areTexts;
  if (!isWhole) {
    throw new InputError(`${name} was not made by export/to_tflite.py, or is not whole: it holds ` +
      "no vocabulary or settings");
  }
  if (!KINDS.includes(settings.kind)) {
    throw new InputError(`${name} has a head of the kind ${settings.kind}, which this page does not know`);
  }
  if (!graph.hasFloatOutputs) {
    throw new InputError(`${name} has integer outputs, which LiteRT.js does not read: export it ` +
      "with another --quantize mode");
  }
  const labels = lines("labels.txt");
  checkLabels(name, settings.kind, labels, graph);
  return {
    name, bytes, graph, vocabulary, labels, joiners,
    kind: settings.kind,
    thresholds: thresholds(name, settings, labels.length),
    lowerCase: settings.do_lower_case,
    stripAccents: settings.strip_accents ?? settings.do_lower_case,
    maxTokens: graph.fixedLength ?? settings.max_tokens,
    sequenceLength: settings.sequence_length,
    pairs: settings.pairs ?? null,
  };
}

function checkLabels(name, kind, labels, {widths}) {
  if (!(kind in BY_LABEL)) return;
  const classes = widths[BY_LABEL[kind]] ?? 0;
  if (classes !== labels.length) {
    throw new InputError(`${name} names ${labels.length} classes, the model has ${classes}`);
  }
}

function thresholds(name, {kind, thresholds: given}, labels) {
  const needed = kind === SEVERAL_LABELS ? labels : 0;
  given ??= Array(needed).fill(USUAL_THRESHOLD);
  const isNumber = value => typeof value === "number" && value >= 0 && value <= 1;
  if (!Array.isArray(given) || given.length !== needed || !given.every(isNumber)) {
    throw new InputError(`${name} is damaged: its thresholds are not from 0 to 1`);
  }
  return given;
}

function attempt(name, read) {
  try {
    return read();
  } catch (error) { // a place outside of the file is a RangeError
    const reason = error instanceof RangeError ? "a part of it is missing" : error.message;
    throw new InputError(`${name} is no .tflite file, or damaged: ${reason}`);
  }
}
