/** From pieces to what the model reads: [CLS] text [SEP], pairs, and windows over documents. */

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
 * A part of a document that the model sees at once: tokens `first` to before `end`.
 * @typedef {{first: number, end: number}} Window
 */

/**
 * Windows that overlap, as run_squad.py of google-research/bert cuts them.
 * @param {number} tokens of the document
 * @param {number} room tokens of it in a window
 * @param {number} stride tokens from the start of a window to that of the next
 * @returns {Window[]}
 */
export function windows(tokens, room, stride) {
  if (!tokens) return [];
  const found = [{first: 0, end: Math.min(room, tokens)}];
  while (found.at(-1).end < tokens) {
    const first = found.at(-1).first + Math.min(room, stride);
    found.push({first, end: Math.min(first + room, tokens)});
  }
  return found;
}

/**
 * For each token of a document the window with the most context around it: the smaller of both
 * sides counts, and a hundredth of the window's length; if equal, the earlier one.
 * @param {Window[]} found
 * @param {number} tokens of the document
 * @returns {Int32Array} a window's index, [tokens]
 */
export function bestWindows(found, tokens) {
  const best = new Int32Array(tokens), scores = new Float64Array(tokens).fill(-1);
  found.forEach(({first, end}, index) => {
    for (let token = first; token < end; token++) {
      const score = Math.min(token - first, end - 1 - token) + 0.01 * (end - first);
      if (score > scores[token]) [scores[token], best[token]] = [score, index];
    }
  });
  return best;
}

/** Stride and longest question of windows of any length, as Google's 128 and 64 are to 384. */
export function proportions(length) {
  return {stride: Math.max(1, Math.floor(length / 3)), longestQuestion: Math.max(1, Math.floor(length / 6))};
}
