/** From pieces to what the model reads: [CLS] text [SEP], pairs, and windows over documents. */

import {InputError} from "./tflite_file.js";

/**
 * One sequence: ids and segments (0, or 1 for the second text and its [SEP]), int32 [T].
 * @typedef {{ids: Int32Array, segments: Int32Array}} Features
 */

/**
 * [CLS] first [SEP], or [CLS] first [SEP] second [SEP].
 * @param {import("./wordpiece.js").WordPiece} tokenizer
 * @param {number[]} first ids
 * @param {?number[]} second ids
 * @returns {Features}
 */
export function pack(tokenizer, first, second) {
  const a = [tokenizer.clsId, ...first, tokenizer.sepId];
  const b = second ? [...second, tokenizer.sepId] : [];
  const segments = new Int32Array(a.length + b.length).fill(1, a.length);
  return {ids: Int32Array.of(...a, ...b), segments};
}

/**
 * Cuts texts to what the model takes: always from the longer one, the second where equal.
 * @param {number[]} first ids
 * @param {?number[]} second ids
 * @param {number} maxTokens special tokens included
 * @returns {{first: number[], second: ?number[], dropped: number}} dropped: tokens
 */
export function fit(first, second, maxTokens) {
  const a = first.length, b = second?.length ?? 0, budget = maxTokens - (second ? 3 : 2);
  const keptA = Math.min(a, Math.max(budget - b, Math.ceil(budget / 2)));
  const keptB = Math.min(b, budget - keptA);
  return {
    first: first.slice(0, keptA),
    second: second && second.slice(0, keptB),
    dropped: a - keptA + b - keptB,
  };
}

/**
 * A part of a document that the model sees at once: [CLS] question [SEP] part [SEP].
 * @typedef {object} Window
 * @property {Features} features
 * @property {number} begin the part's first token in them
 * @property {{start: number, end: number}[]} spans of the part's tokens in the document
 * @property {boolean[]} isBest whether this is, of the windows that hold the token, the one with the
 *   most context around it
 */

/**
 * Cuts a document into windows that overlap, as run_squad.py of google-research/bert does.
 * @param {import("./wordpiece.js").WordPiece} tokenizer
 * @param {string} question
 * @param {string} document
 * @param {number} length tokens of a window; stride and longest question are to it as Google's 128
 *   and 64 are to 384
 * @returns {{windows: Window[], dropped: number, longest: number}} no windows if the document holds no
 *   text; dropped: the question's tokens behind the `longest` first ones
 * @throws {InputError} for a length that leaves no room for the document
 */
export function cutDocument(tokenizer, question, document, length) {
  const stride = Math.max(1, Math.floor(length / 3)), longest = Math.max(1, Math.floor(length / 6));
  if (length <= longest + 3) {
    throw new InputError(`${length} tokens have no room for the text: there must be more than the longest ` +
      `question (${longest} tokens) and 3 special tokens`);
  }
  const whole = tokenizer.tokenize(question).ids, asked = whole.slice(0, longest);
  const {ids, spans} = tokenizer.tokenize(document);
  const parts = overlapping(ids.length, length - asked.length - 3, stride);
  const best = bestParts(parts, ids.length);
  const windows = parts.map(({first, end}, index) => ({
    features: pack(tokenizer, asked, ids.slice(first, end)),
    begin: asked.length + 2,
    spans: spans.slice(first, end),
    isBest: Array.from(best.subarray(first, end), place => place === index),
  }));
  return {windows, dropped: whole.length - asked.length, longest};
}

/** Parts of `room` tokens, every `stride` tokens. */
function overlapping(tokens, room, stride) {
  if (!tokens) return [];
  const parts = [{first: 0, end: Math.min(room, tokens)}];
  while (parts.at(-1).end < tokens) {
    const first = parts.at(-1).first + Math.min(room, stride);
    parts.push({first, end: Math.min(first + room, tokens)});
  }
  return parts;
}

/**
 * For each token the part with the most context around it: the smaller of both sides counts, and a
 * hundredth of the part's length; if equal, the earlier one.
 */
function bestParts(parts, tokens) {
  const best = new Int32Array(tokens), scores = new Float64Array(tokens).fill(-1);
  parts.forEach(({first, end}, index) => {
    for (let token = first; token < end; token++) {
      const score = Math.min(token - first, end - 1 - token) + 0.01 * (end - first);
      if (score > scores[token]) [scores[token], best[token]] = [score, index];
    }
  });
  return best;
}
