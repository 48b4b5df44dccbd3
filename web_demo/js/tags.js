/** How the labels of words mark entities; the counterpart of mobilebert_tf/tasks/tags.py. */

// UNNAMED: the kind of entities whose labels name none: B, I, O.
const OUTSIDE = "O", UNNAMED = "entity";
const SCHEMES = {IO: "I", BIO: "BI", BIOES: "BIES", BILOU: "BILU", BMES: "BMES"};
const BEGINS = "BSU", ENDS = "ESLU";

/**
 * @typedef {object} Scheme
 * @property {string} name IO, BIO, BIOES, BILOU or BMES; "plain" for labels of words that form no
 *   entities, "numbers" for labels whose meaning the data do not give
 * @property {boolean} hasEntities
 * @property {Map<string, {letter: string, kind: string}>} marks of the labels inside of entities
 */

/**
 * The scheme of a token classifier's labels, which is read from them alone.
 * @param {string[]} labels
 * @returns {Scheme}
 */
export function tagScheme(labels) {
  const names = labels.filter(label => label !== OUTSIDE), hasOutside = names.length < labels.length;
  if (names.every(name => /^-?\p{Nd}+$/u.test(name))) return scheme("numbers");
  const marks = new Map();
  for (const name of names) {
    const [, letter, kind] = /^([BIESLUM])(?:-(.+))?$/s.exec(name) ?? [];
    if (letter) marks.set(name, {letter, kind: kind ?? UNNAMED});
  }
  const withKind = new Map([...marks].filter(([name]) => name.length > 1));
  if (withKind.size && (hasOutside || names.every(name => withKind.has(name)))) return lettered(withKind);
  if (!hasOutside) return scheme("plain");
  if (marks.has("B") && names.every(name => marks.has(name))) return lettered(marks);
  return scheme("IO", new Map(names.map(name => [name, {letter: "I", kind: name}])));
}

/** The first scheme that has all the letters. */
function lettered(marks) {
  const letters = [...marks.values()].map(({letter}) => letter);
  const name = Object.keys(SCHEMES).find(name => letters.every(letter => SCHEMES[name].includes(letter)));
  return name ? scheme(name, marks) : scheme("plain");
}

const scheme = (name, marks = new Map()) => ({name, marks, hasEntities: name in SCHEMES});

/**
 * The words' parts in entities. One that does not begin as its scheme wants begins with its first word.
 * @param {Scheme} scheme
 * @param {string[]} labels of words
 * @returns {({kind: string, begins: boolean}|null)[]} null outside of entities
 */
export function tags({marks}, labels) {
  // The kind of the entity that may go on.
  let open = null;
  return labels.map(label => {
    const mark = marks.get(label);
    const tag = mark ? {kind: mark.kind, begins: BEGINS.includes(mark.letter) || mark.kind !== open} : null;
    open = mark && !ENDS.includes(mark.letter) ? mark.kind : null;
    return tag;
  });
}
