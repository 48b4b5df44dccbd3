/** A .tflite file made by export/to_tflite.py: its graph, and what travels with it. */

import {readGraph} from "./flatbuffer.js";
import {readZip} from "./zip.js";

const KINDS = ["pretraining", "masked_lm", "classifier", "next_sentence", "regression",
  "multiple_choice", "token_classifier", "span", "encoder"];

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
 * @property {boolean} lowerCase
 * @property {boolean} stripAccents
 * @property {number} maxTokens the longest sequence that it takes
 * @property {?number} sequenceLength tokens that the head was trained on; null if any
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
  return {
    name, bytes, graph, vocabulary, joiners,
    kind: settings.kind,
    labels: lines("labels.txt"),
    lowerCase: settings.do_lower_case,
    stripAccents: settings.strip_accents ?? settings.do_lower_case,
    maxTokens: graph.fixedLength ?? settings.max_tokens,
    sequenceLength: settings.sequence_length,
  };
}

function attempt(name, read) {
  try {
    return read();
  } catch (error) { // a place outside of the file is a RangeError
    const reason = error instanceof RangeError ? "a part of it is missing" : error.message;
    throw new InputError(`${name} is no .tflite file, or damaged: ${reason}`);
  }
}
