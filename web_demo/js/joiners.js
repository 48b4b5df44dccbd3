/**
 * Which of BERT's parts of a text are one word: what the training data took for one, as its joiners
 * tell. The definition, and how a joiner is written, is in mobilebert_tf/text/words.py.
 */

import {BLANK, SEPARATE, kindOf} from "./unicode.js";

const ONE_MARK = new Map([["\u2019", "'"]]); // an apostrophe
const NOTHING = {mark: "", first: "", last: ""};

/**
 * @param {string} text
 * @param {{start: number, end: number}[]} parts of the text: runs of letters and digits, and marks
 * @param {string[]} joiners none if each part is a word
 * @returns {boolean[]} for each part whether it continues the word of the part before it
 */
export function continuedWords(text, parts, joiners) {
  const known = new Map(joiners.map(joiner => [joiner.replaceAll(" ", ""), joiner]));
  const shapes = parts.map(({start, end}) => shape(Array.from(text.slice(start, end))));
  const isTouching = i => i > 0 && i < parts.length &&
    !Array.from(text.slice(parts[i - 1].end, parts[i].start)).some(each => kindOf(each) === BLANK);
  let marks = new Set(), takesNext = false; // marks of the word so far; the mark before takes this part
  return shapes.map(({mark}, i) => {
    const before = isTouching(i) ? shapes[i - 1] : NOTHING;
    const after = isTouching(i + 1) ? shapes[i + 1] : NOTHING;
    let isJoined = takesNext && !mark;
    takesNext = false;
    if (mark) {
      const joiner = known.get(example(before.last, mark, after.first, marks.has(mark)));
      isJoined = before.mark ? known.has(before.mark + mark)
        : Boolean(before.last && joiner) && joiner.at(1) !== " ";
      takesNext = Boolean(after.first && joiner) && joiner.at(-2) !== " ";
    }
    marks = new Set(isJoined ? marks : []).add(mark);
    return isJoined;
  });
}

/** What the parts beside a part see of it: its mark, or a digit (0) or another character (x). */
function shape(characters) {
  const [first] = characters;
  if (kindOf(first) === SEPARATE) return {...NOTHING, mark: ONE_MARK.get(first) ?? first};
  const [begin, end] = [first, characters.at(-1)].map(each => /^\p{Nd}$/u.test(each) ? "0" : "x");
  return {mark: "", first: begin, last: end};
}

/** A joiner without its blanks. */
function example(left, mark, right, isRepeated) {
  if (left && right) {
    const side = left + right === "00" ? "0" : "x";
    return side + mark + side;
  }
  return (left && isRepeated ? left + mark : "") + left + mark + right;
}
