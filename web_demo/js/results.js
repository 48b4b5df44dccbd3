/** From the model's outputs to what a user reads. */

import {continuedWords} from "./joiners.js";
import {tags} from "./tags.js";

const LONGEST_ANSWER = 30; // tokens
const SPANS_PER_TEXT = 5; // spans looked at for each that is kept: several can have the same text

/**
 * A part of a text, text.slice(start, end) in UTF-16 units, and what it is called.
 * @typedef {object} Stretch
 * @property {string} text
 * @property {number} start
 * @property {number} end
 * @property {string} label
 * @property {number} probability
 */

/**
 * @param {ArrayLike<number>} scores
 * @returns {number[]} probabilities, of the same order
 */
export function softmax(scores) {
  const most = scores.length ? Array.prototype.reduce.call(scores, (a, b) => Math.max(a, b)) : 0;
  const powers = Array.from(scores, score => Math.exp(score - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map(power => power / sum);
}

/**
 * @param {string[]} labels
 * @param {ArrayLike<number>} probabilities of each
 * @returns {{label: string, probability: number}} the likeliest
 */
export function likeliest(labels, probabilities) {
  const [best] = largest(probabilities, 1);
  return {label: labels[best], probability: probabilities[best]};
}

/** Places of the largest values, the largest first; the earlier one where equal. */
function largest(values, count) {
  const best = [];
  for (let i = 0; i < values.length; i++) {
    if (best.length === count && !(values[i] > values[best.at(-1)])) continue;
    let place = best.length;
    while (place && values[i] > values[best[place - 1]]) place--;
    best.splice(place, 0, i);
    if (best.length > count) best.pop();
  }
  return best;
}

/**
 * Pieces joined to words as in training; a word's label is that of its first piece.
 * @param {string} text
 * @param {string[]} pieces names of the first pieces; fewer than spans if the text was cut
 * @param {{start: number, end: number}[]} spans
 * @param {ArrayLike<number>[]} rows each piece's probabilities
 * @param {string[]} labels
 * @param {string[]} joiners of the training words, see joiners.js
 * @returns {Stretch[]}
 */
export function words(text, pieces, spans, rows, labels, joiners) {
  const labelled = pieces.map((_, i) => ({...spans[i], ...likeliest(labels, rows[i])}));
  const parts = joined(labelled, pieces.map(piece => piece.startsWith("##")));
  return joined(parts, continuedWords(text, parts, joiners))
    .map(word => ({text: text.slice(word.start, word.end), ...word}));
}

/** Each with the end of those behind it that continue it. */
function joined(stretches, areContinued) {
  const found = [];
  stretches.forEach((stretch, i) => {
    if (areContinued[i] && found.length) found.at(-1).end = stretch.end;
    else found.push({...stretch});
  });
  return found;
}

/**
 * Words of one entity joined; each with the lowest probability of its words.
 * @param {string} text
 * @param {Stretch[]} words
 * @param {import("./tags.js").Scheme} scheme of the labels
 * @returns {Stretch[]}
 */
export function entities(text, words, scheme) {
  const found = [];
  tags(scheme, words.map(({label}) => label)).forEach((tag, i) => {
    if (!tag) return;
    const {start, end, probability} = words[i];
    if (tag.begins) return found.push({start, end, label: tag.kind, probability});
    const last = found.at(-1);
    last.end = end;
    last.probability = Math.min(last.probability, probability);
  });
  return found.map(each => ({text: text.slice(each.start, each.end), ...each}));
}

/**
 * The labels that a text has, the likeliest first; of equals the first.
 * @param {string[]} labels
 * @param {ArrayLike<number>} probabilities of each
 * @param {number[]} thresholds of each the probability from which on a text has it
 * @returns {string[]}
 */
export function chosen(labels, probabilities, thresholds) {
  return largest(probabilities, labels.length)
    .filter(i => probabilities[i] >= thresholds[i]).map(i => labels[i]);
}

/**
 * The best answers in a document, as mobilebert_tf/data/answers.py finds them.
 * @param {string} document
 * @param {(import("./features.js").Window & {startLogits: ArrayLike<number>,
 *   endLogits: ArrayLike<number>})[]} windows with the logits of all their tokens
 * @param {number} count of candidates
 * @param {?number} nullThreshold how much better "no answer" must score than the best answer; null if
 *   there always is one
 * @returns {Stretch & {candidates: Stretch[]}} text "" for no answer; candidates: best first
 */
export function bestAnswer(document, windows, count, nullThreshold) {
  const spans = bestSpans(document, windows, count);
  let listed = spans, difference = -Infinity;
  if (nullThreshold !== null) {
    const scores = windows.map(({startLogits, endLogits}) => startLogits[0] + endLogits[0]); // [CLS]
    const none = {text: "", start: 0, end: 0, score: Math.min(...scores)};
    listed = [...spans, none].sort((a, b) => b.score - a.score).slice(0, count);
    listed.push(...[...spans.slice(0, 1), none].filter(needed => !listed.includes(needed)));
    difference = spans.length ? none.score - spans[0].score : Infinity;
  }
  const probabilities = softmax(listed.map(({score}) => score));
  const candidates = listed.map(({text, start, end}, i) =>
    ({text, start, end, label: text ? "answer" : "none", probability: probabilities[i]}));
  const declined = !spans.length || difference > (nullThreshold ?? 0);
  const nothing = {text: "", start: 0, end: 0, label: "none", probability: 0};
  return {...(candidates.find(({text}) => !text === declined) ?? nothing), candidates};
}

/** Spans of different texts, best first. */
function bestSpans(document, windows, count) {
  const scored = [];
  windows.forEach(({begin, spans, isBest, startLogits, endLogits}) => {
    spans.forEach(({start}, first) => {
      const end = isBest[first] ? Math.min(spans.length, first + LONGEST_ANSWER) : first;
      for (let last = first; last < end; last++) {
        const score = startLogits[begin + first] + endLogits[begin + last];
        scored.push({start, end: spans[last].end, score});
      }
    });
  });
  const found = new Map();
  for (const place of largest(scored.map(({score}) => score), count * SPANS_PER_TEXT)) {
    const span = scored[place], text = document.slice(span.start, span.end);
    if (found.size < count && !found.has(text)) found.set(text, {text, ...span});
  }
  return [...found.values()];
}

/**
 * The likeliest pieces for a [MASK], best first.
 * @param {ArrayLike<number>} logits of the vocabulary
 * @param {string[]} vocabulary
 * @param {number} count
 * @returns {{token: string, probability: number}[]}
 */
export function candidates(logits, vocabulary, count) {
  const probabilities = softmax(logits);
  return largest(probabilities, count)
    .map(i => ({token: vocabulary[i], probability: probabilities[i]}));
}

/**
 * Vectors by how alike they are to a query, the likest first; of equals (to 1e-6) the earlier one.
 * @param {ArrayLike<number>} query [H]
 * @param {ArrayLike<number>[]} vectors [H] each
 * @returns {{place: number, score: number}[]} score: the cosine, 0 for a vector of no length
 */
export function rank(query, vectors) {
  const rounded = score => Math.round(1e6 * score);
  return vectors.map((vector, place) => ({place, score: cosine(query, vector)}))
    .sort((a, b) => rounded(b.score) - rounded(a.score));
}

function cosine(a, b) {
  let product = 0, squareA = 0, squareB = 0;
  for (let i = 0; i < a.length; i++) {
    product += a[i] * b[i];
    squareA += a[i] ** 2;
    squareB += b[i] ** 2;
  }
  return product / (Math.sqrt(squareA * squareB) || 1);
}
