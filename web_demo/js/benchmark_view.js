/** The benchmark's form, its figures as chart and table, and their download. */

import {latencyChart} from "./chart.js";
import {element} from "./dom.js";

const COLUMNS = {tokens: "tokens", threads: "threads", p50_ms: "p50 ms", p90_ms: "p90 ms", p99_ms: "p99 ms"};

/**
 * What the form asks for.
 * @param {HTMLFormElement} form
 * @param {{maxTokens: number, fixedLength: ?number, threads: number}} model as the worker opened it
 * @throws {Error} for what is no list of numbers, or more than the model or the browser takes
 */
export function readForm(form, {maxTokens, fixedLength, threads}) {
  const {elements} = form;
  const asked = {
    lengths: numbers(elements.lengths.value, "Tokens", fixedLength ?? maxTokens),
    threads: numbers(elements.threads.value, "Threads", threads),
    warmUp: Number(elements.warmUp.value),
    runs: Number(elements.runs.value),
  };
  return asked;
}

function numbers(text, name, most) {
  const found = text.split(",").map(Number);
  if (found.some(n => !Number.isInteger(n) || n < 1)) {
    throw new Error(`${name} must be whole numbers with commas between them, such as 1,2`);
  }
  const over = found.find(n => n > most);
  if (over) throw new Error(`${name}: ${over} is more than ${most}, the most that there can be here`);
  return found.sort((a, b) => a - b);
}

/**
 * Figures as what the page shows: a doubt if there is one, a line on loading, a chart, a table, a link to
 * the JSON.
 */
export function figures(report) {
  const [{file, bytes, load_ms}] = report.files;
  const url = URL.createObjectURL(new Blob([JSON.stringify(report, null, 2) + "\n"], {type: "application/json"}));
  const name = file.replace(/\.tflite$/, "") + "-browser.json";
  const doubt = "In doubt: the page was out of view (another tab, or the screen went off), where browsers " +
    "slow it down. Measure again with the page in view.";
  return [
    ...report.thermal.noisy ? [element("p", {class: "doubt"}, doubt)] : [],
    element("p", {}, `${(bytes / 1e6).toFixed(2)} MB, ready after ${load_ms.toFixed(0)} ms`),
    latencyChart(report.latency),
    element("div", {class: "scroll"}, table(report.latency)),
    element("a", {href: url, download: name}, "Save as JSON"),
  ];
}

function table(rows) {
  const head = Object.values(COLUMNS).map(title => element("th", {scope: "col"}, title));
  const body = rows.map(row => element("tr", {}, ...Object.keys(COLUMNS).map(key =>
    element("td", {}, key.endsWith("_ms") ? row[key].toFixed(2) : String(row[key])))));
  return element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
}
