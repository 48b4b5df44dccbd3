/**
 * From text to what a model says of it; the counterpart of mobilebert_tf/pipeline.py, with its
 * names. All offsets are JavaScript's own (UTF-16 units).
 */

import {cutDocument, fit, pack} from "./features.js";
import {bestAnswer, candidates, chosen, entities, likeliest, rank, words} from "./results.js";
import {tagScheme} from "./tags.js";
import {InputError} from "./tflite_file.js";
import {WordPiece} from "./wordpiece.js";

const WINDOW = 384; // tokens, for a span model that does not say what it was trained on
const RUNS = {
  pretraining: "fillMasks", masked_lm: "fillMasks",
  classifier: "classify", next_sentence: "classify", multi_label_classifier: "classifyMultiLabel",
  regression: "score", multiple_choice: "score",
  token_classifier: "labelWords", span: "answer", encoder: "embed",
};

export class Pipeline {
  #embeddings = new Map(); // what embed returned, by text

  /** @param {import("./engine.js").Engine} engine */
  constructor(engine) {
    this.engine = engine;
    this.file = engine.file;
    this.tokenizer = new WordPiece(
      this.file.vocabulary, this.file.lowerCase, this.file.stripAccents);
    this.scheme = tagScheme(this.file.labels);
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
    const row = outputs.probability.data;
    return {...likeliest(this.file.labels, row), probabilities: this.#byLabel(row), dropped};
  }

  async classifyMultiLabel({text, pair}) {
    const {outputs, dropped} = await this.#read(text, pair);
    const row = outputs.probability.data, {labels, thresholds} = this.file;
    return {labels: chosen(labels, row, thresholds), thresholds: this.#byLabel(thresholds),
      probabilities: this.#byLabel(row), dropped};
  }

  /** Labels and their numbers, in the file's order: an object would begin with labels such as "10". */
  #byLabel(numbers) {
    return this.file.labels.map((label, i) => [label, numbers[i]]);
  }

  async score({text, pair}) {
    const {outputs, dropped} = await this.#read(text, pair);
    return {score: outputs.score.data[0], dropped};
  }

  async embed({text}) {
    const {outputs, dropped} = await this.#read(text, "");
    return {embedding: [...outputs.embedding.data], dropped};
  }

  /**
   * Texts by how alike they are to a query, as an encoder embeds them.
   * @param {{query: string, texts: string[]}} asked
   * @param {function(string): void} progress is told how far it is
   * @returns {Promise<{found: {text: string, place: number, score: number}[], dropped: number}>} the
   *   likest first; dropped: tokens of all of them that were left out
   */
  async search({query, texts}, progress) {
    const all = [...new Set([query, ...texts])];
    const fresh = all.filter(text => !this.#embeddings.has(text));
    const tokens = new Map(fresh.map(text => [text, this.tokenizer.tokenize(text).ids.length]));
    fresh.sort((a, b) => tokens.get(a) - tokens.get(b)); // texts of one length need one preparation
    for (const [done, text] of fresh.entries()) {
      progress(`${done} of ${fresh.length} texts`);
      this.#embeddings.set(text, await this.run({text}));
    }
    const embedded = text => this.#embeddings.get(text);
    const found = rank(embedded(query).embedding, texts.map(text => embedded(text).embedding))
      .map(each => ({...each, text: texts[each.place]}));
    return {found, dropped: all.reduce((sum, text) => sum + embedded(text).dropped, 0)};
  }

  async fillMasks({text, top}) {
    const {encoded, ids, outputs, dropped} = await this.#read(text, "", true);
    const {data, shape: [, , pieces]} = outputs.mlm_logits; // [1,T,V]
    const places = [...ids.keys()].filter(place => ids[place] === this.tokenizer.maskId);
    if (!places.length && encoded.ids.includes(this.tokenizer.maskId)) {
      throw new InputError(`the text is too long for the model (${this.file.maxTokens} tokens): its [MASK] is left out`);
    }
    if (!places.length) throw new InputError("write [MASK] where a word is to be guessed");
    const masks = places.map(place =>
      candidates(data.subarray(place * pieces, (place + 1) * pieces), this.file.vocabulary, top));
    return {masks, dropped};
  }

  async labelWords({text}) {
    const {encoded, outputs, dropped} = await this.#read(text, "");
    const {data, shape: [, tokens, classes]} = outputs.token_probability; // [1,T,C]
    const kept = encoded.ids.slice(0, tokens - 2); // without [CLS] and [SEP]
    const names = kept.map(id => this.tokenizer.vocabulary[id]);
    const rows = kept.map((_, i) => data.subarray((i + 1) * classes, (i + 2) * classes));
    const found = words(text, names, encoded.spans, rows, this.file.labels, this.file.joiners);
    const {scheme} = this;
    return {words: found, entities: entities(text, found, scheme), hasEntities: scheme.hasEntities, dropped};
  }

  /**
   * The text is the question; the pair a document of any length, which is read in windows. What is
   * dropped is the question's, behind its `longest` first tokens.
   */
  async answer({text, pair, top, nullThreshold}) {
    const length = Math.min(this.file.sequenceLength ?? WINDOW, this.file.maxTokens);
    const {windows, dropped, longest} = cutDocument(this.tokenizer, text, pair, length);
    if (!windows.length) throw new InputError("there is no document to answer from");
    const read = [];
    for (const window of windows) {
      const outputs = await this.engine.run(window.features); // [1,T] each
      read.push({...window, startLogits: outputs.start_logits.data, endLogits: outputs.end_logits.data});
    }
    return {...bestAnswer(pair, read, top, nullThreshold), windows: windows.length, dropped, longest};
  }

  async #read(text, pair, specialTokens = false) {
    if (this.file.pairs && !pair.trim()) {
      throw new InputError("the model was trained on pairs of texts: write the second text");
    }
    const encoded = this.tokenizer.tokenize(text, specialTokens);
    const second = pair.trim() ? this.tokenizer.tokenize(pair, specialTokens).ids : null;
    const kept = fit(encoded.ids, second, this.file.maxTokens);
    const features = pack(this.tokenizer, kept.first, kept.second);
    const outputs = await this.engine.run(features);
    return {encoded, ids: features.ids, outputs, dropped: kept.dropped};
  }
}
