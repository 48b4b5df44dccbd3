/** BERT's WordPiece tokenizer: text to ids, and where in the text each piece comes from. */

import {Normalizer} from "./normalize.js";

const SPECIAL = /\[(?:PAD|UNK|CLS|SEP|MASK)\]/g;
const RESERVED = /[\ue000-\ue004]/g; // what mobilebert_tf's tokenizer removes before it looks for those
const LONGEST_WORD = 100; // characters; BERT takes a longer word for one [UNK]

/**
 * A text's pieces. `spans` has for each id the part of the text, text.slice(start, end), that its
 * piece comes from.
 * @typedef {{ids: number[], spans: {start: number, end: number}[]}} Encoded
 */

export class WordPiece {
  #ids;
  #longest;
  #normalizer;

  /**
   * @param {string[]} vocabulary pieces in the order of their ids; inside a word they begin with ##
   * @param {boolean} lowerCase whether it is an "uncased" one
   * @param {boolean} stripAccents whether accents are stripped, as BERT does where it lower-cases
   * @throws {Error} if it lacks a special token
   */
  constructor(vocabulary, lowerCase, stripAccents = lowerCase) {
    this.vocabulary = vocabulary;
    this.#ids = new Map(vocabulary.map((piece, id) => [piece, id]));
    this.#longest = vocabulary.reduce((most, piece) => Math.max(most, piece.length), 0);
    this.#normalizer = new Normalizer(lowerCase, stripAccents);
    for (const name of ["pad", "unk", "cls", "sep", "mask"]) {
      const id = this.#ids.get(`[${name.toUpperCase()}]`);
      if (id === undefined) throw new Error(`the vocabulary has no [${name.toUpperCase()}]`);
      this[`${name}Id`] = id;
    }
  }

  /**
   * @param {string} text
   * @param {boolean} specialTokens recognise "[MASK]" and the like; else they are plain text. Places
   *   are then those in a text without U+E000 to U+E004.
   * @returns {Encoded}
   */
  tokenize(text, specialTokens = false) {
    const encoded = {ids: [], spans: []};
    if (specialTokens) text = text.replace(RESERVED, "");
    let at = 0;
    for (const {0: token, index} of specialTokens ? text.matchAll(SPECIAL) : []) {
      this.#add(encoded, text.slice(at, index), at);
      at = index + token.length;
      encoded.ids.push(this.#ids.get(token));
      encoded.spans.push({start: index, end: at});
    }
    this.#add(encoded, text.slice(at), at);
    return encoded;
  }

  #add({ids, spans}, text, at) {
    for (const word of this.#normalizer.words(text)) {
      for (const {id, first, last} of this.#pieces(word)) {
        ids.push(id);
        spans.push({start: at + word[first].start, end: at + word[last].end});
      }
    }
  }

  /** The longest pieces from left to right; [UNK] for the whole word if one is missing. */
  #pieces(word) {
    const unknown = [{id: this.unkId, first: 0, last: word.length - 1}];
    if (word.length > LONGEST_WORD) return unknown;
    const pieces = [];
    for (let first = 0; first < word.length; first = pieces.at(-1).last + 1) {
      const prefix = first ? "##" : "";
      let last = Math.min(word.length, first + this.#longest) - 1, id;
      while (last >= first && (id = this.#ids.get(prefix + spelled(word, first, last))) === undefined) {
        last--;
      }
      if (id === undefined) return unknown;
      pieces.push({id, first, last});
    }
    return pieces;
  }
}

function spelled(word, first, last) {
  let letters = "";
  for (let i = first; i <= last; i++) letters += word[i].character;
  return letters;
}
