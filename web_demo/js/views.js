/** What each kind of model asks for and how it answers: a form in index.html, and two functions. */

import {bars, element, marked, percent} from "./dom.js";

/**
 * @typedef {object} View
 * @property {string} title
 * @property {string} template id of the form's fields
 * @property {"run"|"search"} call of the worker
 * @property {function(Object<string, string>): ?object} read what the call is asked, from the
 *   form's values; null for nothing
 * @property {string} [cut] what is left out in part where it is too long; without it the text
 * @property {function(object, object): Node[]} show from the call's result, and what was asked
 */

const texts = ({text, pair = ""}) => text.trim() ? {text, pair} : null;

const classify = {
  title: "Classify a text", template: "view-classify", call: "run", read: texts,
  show: ({label, probabilities}) => [element("p", {class: "answer", dir: "auto"}, label), bars(probabilities)],
};

const classifyMultiLabel = {
  title: "Find the labels of a text", template: "view-classify", call: "run", read: texts,
  show: ({labels, probabilities, thresholds}) => {
    const from = thresholds.map(([label, threshold]) => `${label} ${percent(threshold)}`);
    return [
      element("p", {class: "answer", dir: "auto"}, labels.join(", ") || "No label: none reaches its threshold."),
      bars(probabilities), element("p", {class: "faint"}, `Thresholds: ${from.join(", ")}`),
    ];
  },
};

const score = {
  title: "Score a text", template: "view-score", call: "run", read: texts,
  show: ({score}) => [element("p", {class: "answer"}, score.toFixed(3))],
};

const label = {
  title: "Label the words", template: "view-label", call: "run", read: texts,
  show: ({words, entities, hasEntities}, {text}) => {
    const found = hasEntities ? entities : words.filter(word => word.label !== "O");
    const list = found.map(({text, label, probability}) =>
      element("li", {}, element("bdi", {}, text), ` ${label} `, element("span", {class: "number"}, percent(probability))));
    return [marked(text, found), element("ol", {}, ...list)];
  },
};

const answer = {
  title: "Answer a question from a document", template: "view-answer", call: "run", cut: "The question",
  read: ({text, pair, maybeNone}) =>
    text.trim() && pair.trim() ? {text, pair, nullThreshold: maybeNone ? 0 : null} : null,
  show: (result, {pair}) => {
    const listed = result.candidates.map(({text, probability}) => element("li", {},
      element("bdi", {}, text || "no answer"), " ", element("span", {class: "number"}, percent(probability))));
    const place = result.text ? [{...result, label: ""}] : [];
    return [
      element("p", {class: "answer", dir: "auto"}, result.text || "The document holds no answer."),
      marked(pair, place), element("ol", {}, ...listed),
      element("p", {class: "faint"}, `Read in ${result.windows} window${result.windows > 1 ? "s" : ""}.`),
    ];
  },
};

const fill = {
  title: "Guess the missing words", template: "view-fill", call: "run", read: texts,
  show: ({masks}) => masks.map((candidates, i) => element("div", {},
    element("p", {}, `[MASK] ${i + 1}`),
    bars(candidates.map(({token, probability}) => [token, probability])))),
};

const search = {
  title: "Search by meaning", template: "view-search", call: "search", cut: "The query or a line",
  read: ({query, texts}) => {
    const lines = texts.split("\n").filter(line => line.trim());
    return query.trim() && lines.length ? {query, texts: lines} : null;
  },
  show: ({found}) => [element("ol", {}, ...found.slice(0, 20).map(({text, score}) => element("li", {},
    element("bdi", {}, text), " ", element("span", {class: "number"}, score.toFixed(3)))))],
};

/** @type {Object<string, View>} by the kind of the model's head */
export const VIEWS = {
  classifier: classify, next_sentence: classify, multi_label_classifier: classifyMultiLabel, regression: score, multiple_choice: score,
  token_classifier: label, span: answer, pretraining: fill, masked_lm: fill, encoder: search,
};
