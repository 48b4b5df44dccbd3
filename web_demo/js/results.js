/** From the model's outputs to what a user reads. */

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

/** Places of the largest values, the largest first; the earlier one where equal. */
export function largest(values, count) {
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
 * Pieces joined to words; a word's label is that of its first piece, as in training.
 * @param {string} text
 * @param {string[]} pieces names of the first pieces; fewer than spans if the text was cut
 * @param {{start: number, end: number}[]} spans
 * @param {ArrayLike<number>[]} rows each piece's probabilities
 * @param {string[]} labels
 * @returns {Stretch[]}
 */
export function words(text, pieces, spans, rows, labels) {
  const found = [];
  pieces.forEach((piece, i) => {
    if (piece.startsWith("##") && found.length) {
      found.at(-1).end = spans[i].end;
      return;
    }
    const [best] = largest(rows[i], 1);
    found.push({...spans[i], label: labels[best], probability: rows[i][best]});
  });
  return found.map(word => ({text: text.slice(word.start, word.end), ...word}));
}

/**
 * Words labelled B-x, I-x joined; each with the lowest probability of its words.
 * @param {string} text
 * @param {Stretch[]} words
 * @returns {Stretch[]}
 */
export function entities(text, words) {
  const found = [];
  let open = null; // the label of the entity that may go on
  for (const {start, end, label, probability} of words) {
    const [, mark, kind] = /^([BI])-(.*)$/s.exec(label) ?? [];
    if (mark === "I" && kind === open) {
      const last = found.at(-1);
      last.end = end;
      last.probability = Math.min(last.probability, probability);
    } else if (mark) {
      found.push({start, end, label: kind, probability});
    }
    open = kind ?? null;
  }
  return found.map(each => ({text: text.slice(each.start, each.end), ...each}));
}

/**
 * A window's tokens, and the logits of each.
 * @typedef {object} ReadWindow
 * @property {{start: number, end: number}[]} spans of its tokens in the document
 * @property {boolean[]} isBest whether this is the window with the most context around a token
 * @property {ArrayLike<number>} startLogits, endLogits of these tokens
 * @property {number} nullScore sum of the logits of [CLS]
 */

/**
 * The best answers in a document, as mobilebert_tf/data/answers.py finds them.
 * @param {string} context
 * @param {ReadWindow[]} windows
 * @param {object} options
 * @param {number} options.count candidates
 * @param {number} options.longest tokens of an answer
 * @param {?number} options.nullThreshold how much better "no answer" must score than the best
 *   answer; null if there always is one
 * @returns {Stretch & {candidates: Stretch[]}} text "" for no answer; candidates: best first
 */
export function bestAnswer(context, windows, {count = 5, longest = 30, nullThreshold = null} = {}) {
  const spans = bestSpans(context, windows, count, longest);
  let listed = spans, difference = -Infinity;
  if (nullThreshold !== null) {
    const score = windows.reduce((least, {nullScore}) => Math.min(least, nullScore), Infinity);
    const none = {text: "", start: 0, end: 0, score};
    listed = [...spans, none].sort((a, b) => b.score - a.score).slice(0, count);
    for (const needed of [...spans.slice(0, 1), none]) {
      if (!listed.includes(needed)) listed.push(needed);
    }
    difference = spans.length ? score - spans[0].score : Infinity;
  }
  const probabilities = softmax(listed.map(({score}) => score));
  const candidates = listed.map(({text, start, end}, i) =>
    ({text, start, end, label: text ? "answer" : "none", probability: probabilities[i]}));
  const declined = !spans.length || difference > (nullThreshold ?? 0);
  const nothing = {text: "", start: 0, end: 0, label: "none", probability: 0};
  return {...(candidates.find(({text}) => !text === declined) ?? nothing), candidates};
}

/** Spans of different texts, best first. */
function bestSpans(context, windows, count, longest) {
  const scored = [];
  windows.forEach(({spans, isBest, startLogits, endLogits}) => {
    for (let first = 0; first < spans.length; first++) {
      if (!isBest[first]) continue;
      const end = Math.min(spans.length, first + longest);
      for (let last = first; last < end; last++) {
        scored.push({start: spans[first].start, end: spans[last].end,
          score: startLogits[first] + endLogits[last]});
      }
    }
  });
  const found = new Map();
  for (const place of largest(scored.map(({score}) => score), count * SPANS_PER_TEXT)) {
    const {start, end, score} = scored[place], text = context.slice(start, end);
    if (found.size < count && !found.has(text)) found.set(text, {text, start, end, score});
  }
  return [...found.values()];
}

/**
 * How alike two embeddings are, -1 to 1.
 * @param {ArrayLike<number>} a
 * @param {ArrayLike<number>} b of the same length
 */
export function cosine(a, b) {
  let product = 0, squareA = 0, squareB = 0;
  for (let i = 0; i < a.length; i++) {
    product += a[i] * b[i];
    squareA += a[i] ** 2;
    squareB += b[i] ** 2;
  }
  return product / (Math.sqrt(squareA * squareB) || 1);
}
