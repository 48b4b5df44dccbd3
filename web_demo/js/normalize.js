/**
 * BERT's normalisation of text (BasicTokenizer of google-research/bert), and where in the text each
 * normalised character comes from.
 *
 * A text is cut into clusters, a character with the marks that belong to it, which are normalised
 * each on its own; so a cluster's place is the place of what comes out of it.
 */

// Control, format, private and unassigned characters, and the replacement character.
const UNCLEAN = /[^\p{L}\p{M}\p{N}\p{P}\p{S}\p{Z}\t\n\r]|\uFFFD/gu;
// What BERT makes a word of its own: punctuation, all ASCII symbols, Chinese characters; and blanks.
const SEPARATORS = new RegExp(
  "[\\p{Z}\\t\\n\\r\\p{P}!-/:-@\\[-`{-~\\u{3400}-\\u{4DBF}\\u{4E00}-\\u{9FFF}\\u{F900}-\\u{FAFF}" +
  "\\u{20000}-\\u{2A6DF}\\u{2A700}-\\u{2B73F}\\u{2B740}-\\u{2B81F}\\u{2B820}-\\u{2CEAF}" +
  "\\u{2F800}-\\u{2FA1F}]", "gu");
const ACCENT = /\p{Mn}/gu, ONE_ACCENT = /^\p{Mn}$/u, BLANK = /^\s$/u;
// What normalisation may join to the character before it, or reorder behind it: marks, and the
// vowels and final consonants of which Hangul syllables are composed.
const JOINED = /^[\p{M}\u1160-\u11ff]$/u;

/**
 * A normalised character (one code point) and the characters that it comes from:
 * text.slice(start, end), in JavaScript's own units (UTF-16).
 * @typedef {{character: string, start: number, end: number}} Origin
 */

/** Normalises texts, and remembers the clusters that it has met. */
export class Normalizer {
  #forms = new Map();
  #lowerCase;

  /** @param {boolean} lowerCase lower-case the text and strip its accents ("uncased") */
  constructor(lowerCase) {
    this.#lowerCase = lowerCase;
  }

  /**
   * The text's words: blanks and control characters are gone, punctuation marks and Chinese
   * characters stand alone.
   * @param {string} text
   * @returns {Origin[][]} the characters of each word
   */
  words(text) {
    const words = [];
    let word = [];
    for (const cluster of this.#clusters(text)) {
      for (const {form, start, end} of this.#parts(cluster)) {
        for (const character of form) {
          if (!BLANK.test(character)) {
            word.push({character, start, end});
          } else if (word.length) {
            words.push(word);
            word = [];
          }
        }
      }
    }
    return word.length ? [...words, word] : words;
  }

  /**
   * The text's characters in clusters, without those that cleaning removes. These separate
   * nothing: "e", a soft hyphen and an accent make an "é".
   */
  * #clusters(text) {
    let cluster = [], at = 0;
    for (const form of text) {
      const character = {form, start: at, end: at += form.length};
      if (this.#isRemoved(form)) continue;
      if (cluster.length && (!JOINED.test(form) || BLANK.test(cluster[0].form))) {
        yield cluster;
        cluster = [];
      }
      cluster.push(character);
    }
    if (cluster.length) yield cluster;
  }

  /**
   * The cluster's normal form in parts: one for each character, whose stripped accents count to it;
   * or the first character and its reordered marks; or one for all, if they were composed.
   */
  #parts(cluster) {
    const forms = cluster.map(({form}) => this.#form(form));
    if (cluster.length === 1) return [{...cluster[0], form: forms[0]}];
    const whole = this.#form(cluster.map(({form}) => form).join(""));
    const first = cluster[0], last = cluster.at(-1);
    if (forms.join("") !== whole) {
      if (!whole.startsWith(forms[0])) return [{form: whole, start: first.start, end: last.end}];
      const marks = whole.slice(forms[0].length);
      return [{...first, form: forms[0]}, {form: marks, start: cluster[1].start, end: last.end}];
    }
    const parts = [];
    cluster.forEach(({start, end}, i) => {
      if (forms[i]) parts.push({form: forms[i], start, end});
      else if (parts.length) parts.at(-1).end = end;
    });
    return parts;
  }

  #isRemoved(character) {
    // A stripped accent also leaves nothing, but it belongs to its letter.
    return !this.#form(character) && !ONE_ACCENT.test(character);
  }

  #form(cluster) {
    let form = this.#forms.get(cluster);
    if (form === undefined) {
      form = normalized(cluster, this.#lowerCase).replace(SEPARATORS, " $& ");
      this.#forms.set(cluster, form);
    }
    return form;
  }
}

function normalized(text, lowerCase) {
  const clean = text.replace(UNCLEAN, "");
  if (!lowerCase) return clean.normalize("NFC");
  // BERT lower-cases letter by letter, Unicode a capital sigma by its place in the word.
  return clean.replaceAll("Σ", "σ").toLowerCase().normalize("NFD").replace(ACCENT, "");
}
