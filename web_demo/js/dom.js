/** Building what the page shows. */

/**
 * @param {string} name
 * @param {Object<string, *>} properties of the element; `class` and such as attributes
 * @param {...(Node|string)} children text is text, never HTML
 */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export const percent = share => `${(100 * share).toFixed(1)} %`;

/**
 * Names with a bar each.
 * @param {[string, number][]} shares names, and their shares from 0 to 1; in an object, names such as
 *   "1878" would come first
 */
export function bars(shares) {
  const rows = shares.flatMap(([name, share]) => [
    element("span", {dir: "auto"}, name),
    element("meter", {value: share, ariaLabel: name}),
    element("span", {class: "number"}, percent(share)),
  ]);
  return element("div", {class: "bars"}, ...rows);
}

/**
 * A text with parts of it marked.
 * @param {string} text
 * @param {import("./results.js").Stretch[]} stretches in order; without a label they have no tag
 */
export function marked(text, stretches) {
  const shown = element("p", {class: "text", dir: "auto"});
  let at = 0;
  for (const {start, end, label, probability} of stretches) {
    const mark = element("mark", {}, text.slice(start, end));
    if (label) mark.append(element("span", {class: "tag", title: percent(probability)}, label));
    shown.append(text.slice(at, start), mark);
    at = end;
  }
  shown.append(text.slice(at));
  return shown;
}
