/**
 * BERT's normalisation of text (BasicTokenizer of google-research/bert), and where in the text each
 * normalised character comes from.
 *
 * A text is cut into clusters, a character with the marks that belong to it, which are normalised
 * each on its own; so a cluster's place is the place of what comes out of it.
 */

import {ACCENT, BLANK, MARK, REMOVED, SEPARATE, kindOf, lowerCaseOf} from "./unicode.js";

/**
 * A normalised character (one code point) and the characters that it comes from:
 * text.slice(start, end), in JavaScript's own units (UTF-16).
 * @typedef {{character: string, start: number, end: number}} Origin
 */

/** Normalises texts, and remembers the clusters that it has met. */
export class Normalizer {
  #forms = new Map();
  #lowerCase;
  #stripAccents;

  /**
   * @param {boolean} lowerCase lower-case the text ("uncased")
   * @param {boolean} stripAccents strip its accents
   */
  constructor(lowerCase, stripAccents) {
    this.#lowerCase = lowerCase;
    this.#stripAccents = stripAccents;
  }

  /**
   * The text's words: blanks and control characters are gone, punctuation marks and Chinese
   * characters stand alone.
   * @param {string} text
   * @returns {Origin[][]} the characters of each word
   */
  words(text) {
    const words = [[]];
    for (const cluster of clusters(text)) {
      for (const {form, start, end} of this.#parts(cluster)) {
        for (const character of form) {
          const kind = kindOf(character), origin = {character, start, end};
          if (kind === BLANK) words.push([]);
          else if (kind === SEPARATE) words.push([origin], []);
          else words.at(-1).push(origin);
        }
      }
    }
    return words.filter(word => word.length);
  }

  /**
   * The cluster's normal form in parts: one for each character, whose stripped accents count to it;
   * or the first character and its reordered marks; or one for all, if they were composed.
   */
  #parts(cluster) {
    const forms = cluster.map(({form}) => this.#form(form));
    const [first] = cluster, {end} = cluster.at(-1);
    if (cluster.length === 1) return [{...first, form: forms[0]}];
    const whole = this.#form(cluster.map(({form}) => form).join(""));
    if (forms.join("") !== whole) {
      if (!whole.startsWith(forms[0])) return [{form: whole, start: first.start, end}];
      const marks = whole.slice(forms[0].length);
      return [{...first, form: forms[0]}, {form: marks, start: cluster[1].start, end}];
    }
    const parts = [];
    cluster.forEach((character, i) => {
      if (forms[i]) parts.push({...character, form: forms[i]});
      else if (parts.length) parts.at(-1).end = character.end;
    });
    return parts;
  }

  #form(cluster) {
    if (!this.#forms.has(cluster)) this.#forms.set(cluster, this.#normalized(cluster));
    return this.#forms.get(cluster);
  }

  #normalized(cluster) {
    const cased = this.#stripAccents ? cluster : cluster.normalize("NFC");
    const folded = this.#lowerCase ? Array.from(cased, lowered).join("") : cased;
    if (!this.#stripAccents) return folded;
    const decomposed = Array.from(folded.normalize("NFD"));
    return decomposed.filter(character => kindOf(character) !== ACCENT).join("");
  }
}

/** İ is the one character whose lower case is two. */
function lowered(character) {
  return character === "\u0130" ? "i\u0307" : lowerCaseOf(character);
}

/**
 * The text's characters in clusters, without those that cleaning removes. These separate nothing:
 * "e", a soft hyphen and an accent make an "é".
 */
function* clusters(text) {
  let cluster = [], at = 0;
  for (const form of text) {
    const character = {form, start: at, end: at += form.length};
    if (kindOf(form) === REMOVED) continue;
    if (cluster.length && (!isJoined(form) || kindOf(cluster[0].form) === BLANK)) {
      yield cluster;
      cluster = [];
    }
    cluster.push(character);
  }
  if (cluster.length) yield cluster;
}

/** Marks, and the vowels and final consonants of which Hangul syllables are composed. */
function isJoined(character) {
  const kind = kindOf(character);
  return kind === ACCENT || kind === MARK || ("\u1160" <= character && character <= "\u11ff");
}
