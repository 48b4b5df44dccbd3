/**
 * From text to what a model says of it; the counterpart of mobilebert_tf/pipeline.py, with its
 * names. All offsets are JavaScript's own (UTF-16 units).
 */

import {bestWindows, fit, pack, proportions, windows} from "./features.js";
import {bestAnswer, entities, largest, softmax, words} from "./results.js";
import {InputError} from "./tflite_file.js";
import {WordPiece} from "./wordpiece.js";

const WINDOW = 384; // tokens, for a span model that does not say what it was trained on
const RUNS = {
  pretraining: "fillMasks", masked_lm: "fillMasks",
  classifier: "classify", next_sentence: "classify",
  regression: "score", multiple_choice: "score",
  token_classifier: "labelWords", span: "answer", encoder: "embed",
};

export class Pipeline {
  /** @param {import("./engine.js").Engine} engine */
  constructor(engine) {
    this.engine = engine;
    this.file = engine.file;
    this.tokenizer = new WordPiece(this.file.vocabulary, this.file.lowerCase);
  }

  /**
   * @param {object} asked
   * @param {string} asked.text
   * @param {string} [asked.pair] a second text; of a span model the document to answer from
   * @param {number} [asked.top] candidates for each [MASK] or answer
   * @param {?number} [asked.nullThreshold] as in results.bestAnswer
   * @returns {Promise<object>} the kind's result, and what was left out: {dropped: tokens}
   */
  async run({text, pair = "", top = 5, nullThreshold = null}) {
    if (!text.trim()) throw new InputError("there is no text");
    return this[RUNS[this.file.kind]]({text, pair, top, nullThreshold});
  }

  async classify({text, pair}) {
    const {outputs, dropped} = await this.#read(text, pair);
    const row = [...outputs.probability.data], [best] = largest(row, 1);
    const probabilities = Object.fromEntries(row.map((p, i) => [this.file.labels[i] ?? String(i), p]));
    return {label: Object.keys(probabilities)[best], probability: row[best], probabilities, dropped};
  }

  async score({text, pair}) {
    const {outputs, dropped} = await this.#read(text, pair);
    return {score: outputs.score.data[0], dropped};
  }

  async embed({text}) {
    const {outputs, dropped} = await this.#read(text, "");
    return {embedding: [...outputs.embedding.data], dropped};
  }

  async fillMasks({text, top}) {
    const {ids, outputs, dropped} = await this.#read(text, "", true);
    const {data, shape} = outputs.mlm_logits; // [1,T,V]
    const masks = [];
    ids.forEach((id, token) => {
      if (id !== this.tokenizer.maskId) return;
      const p = softmax(data.subarray(token * shape[2], (token + 1) * shape[2]));
      masks.push(largest(p, top).map(i => ({token: this.tokenizer.vocabulary[i], probability: p[i]})));
    });
    if (!masks.length) throw new InputError("write [MASK] where a word is to be guessed");
    return {masks, dropped};
  }

  async labelWords({text}) {
    const {encoded, outputs, dropped} = await this.#read(text, "");
    const {data, shape: [, tokens, classes]} = outputs.token_probability; // [1,T,C]
    const kept = encoded.ids.slice(0, tokens - 2); // without [CLS] and [SEP]
    const names = kept.map(id => this.tokenizer.vocabulary[id]);
    const rows = kept.map((_, i) => data.subarray((i + 1) * classes, (i + 2) * classes));
    const found = words(text, names, encoded.spans, rows, this.file.labels);
    return {words: found, entities: entities(text, found), dropped};
  }

  /** The text is the question; the pair a document of any length, which is read in windows. */
  async answer({text, pair, top, nullThreshold}) {
    const length = Math.min(this.file.sequenceLength ?? WINDOW, this.file.maxTokens);
    const {stride, longestQuestion} = proportions(length);
    const question = this.tokenizer.tokenize(text).ids.slice(0, longestQuestion);
    const document = this.tokenizer.tokenize(pair);
    if (!document.ids.length) throw new InputError("there is no document to answer from");
    const found = windows(document.ids.length, length - question.length - 3, stride);
    const best = bestWindows(found, document.ids.length);
    const read = [];
    for (const [index, {first, end}] of found.entries()) {
      const inside = document.ids.slice(first, end), begin = question.length + 2;
      const outputs = await this.engine.run(pack(this.tokenizer, question, inside));
      const start = outputs.start_logits.data, stop = outputs.end_logits.data; // [T]
      read.push({
        spans: document.spans.slice(first, end),
        isBest: Array.from(inside, (_, i) => best[first + i] === index),
        startLogits: start.subarray(begin, begin + inside.length),
        endLogits: stop.subarray(begin, begin + inside.length),
        nullScore: start[0] + stop[0],
      });
    }
    return {...bestAnswer(pair, read, {count: top, nullThreshold}), windows: found.length, dropped: 0};
  }

  async #read(text, pair, specialTokens = false) {
    const encoded = this.tokenizer.tokenize(text, specialTokens);
    const second = pair.trim() ? this.tokenizer.tokenize(pair, specialTokens).ids : null;
    const kept = fit(encoded.ids, second, this.file.maxTokens);
    const features = pack(this.tokenizer, kept.first, kept.second);
    const outputs = await this.engine.run(features);
    return {encoded, ids: features.ids, outputs, dropped: kept.dropped};
  }
}
