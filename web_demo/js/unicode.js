/**
 * What BERT's normalisation does with each character. Not the browser's own tables: browsers know
 * different versions of Unicode, and would read the same text differently.
 */

import {KINDS, LOWER_CASE} from "./unicode_tables.js";

export const [REMOVED, BLANK, SEPARATE, ACCENT, MARK] = Array.from("RBSAM", letter => letter.charCodeAt());

const kinds = new Uint8Array(0x110000);
let code = 0;
for (const [, kind, length] of KINDS.matchAll(/([A-Z])([0-9a-z]+)/g)) {
  kinds.fill(kind.charCodeAt(), code, code += parseInt(length, 36));
}
const lowerCase = new Map();
for (const run of LOWER_CASE.split(" ")) {
  const [first, count, step, difference] = run.split(",").map(number => parseInt(number, 36));
  for (let i = 0; i < count; i++) lowerCase.set(first + i * step, first + i * step + difference);
}

/** @param {string} character one code point */
export const kindOf = character => kinds[character.codePointAt()];

/** @param {string} character one code point */
export function lowerCaseOf(character) {
  const lower = lowerCase.get(character.codePointAt());
  return lower === undefined ? character : String.fromCodePoint(lower);
}
