/** The page: opens files, shows the form that fits them, and says what went wrong. */

import {figures, readForm} from "./benchmark_view.js";
import {Client, newest} from "./client.js";
import {element} from "./dom.js";
import {inView} from "./in_view.js";
import {VIEWS} from "./views.js";

const byId = id => document.getElementById(id);
let client, model, view, turn = 0;

async function open(name, read) {
  say(`Opening ${name} …`);
  const next = new Client(), mine = ++turn;
  let opened;
  try {
    opened = await next.call("open", {name, bytes: await read()});
  } catch (error) {
    next.end();
    return mine === turn && complain(error);
  }
  if (mine !== turn) return next.end(); // another file was chosen meanwhile
  client?.end();
  [client, model] = [next, opened];
  document.title = `${name} · MobileBERT in the browser`;
  say(`${model.name} is open.`);
  view = VIEWS[model.kind];
  showFacts();
  byId("try-title").textContent = view.title;
  byId("asked").replaceChildren(byId(view.template).content.cloneNode(true));
  if (model.pairs) askForPair(byId("asked"));
  byId("output").replaceChildren();
  byId("figures").replaceChildren();
  const limit = model.fixedLength ?? model.maxTokens, threads = Math.min(2, model.threads);
  const {lengths, threads: counts} = byId("measure").elements;
  lengths.value = [16, 32, 64, 128].filter(n => n <= limit).join(",") || limit;
  counts.value = threads > 1 ? `1,${threads}` : "1";
  byId("try").hidden = byId("benchmark").hidden = false;
  run();
}

/** Of a model that refuses a single text: the second text is no choice, and the example has one. */
function askForPair(form) {
  form.querySelectorAll(".choosable").forEach(node => node.remove());
  const {pair} = form.elements;
  if (pair) pair.value ||= pair.dataset.example;
}

function showFacts() {
  const tokens = model.fixedLength ? `${model.fixedLength}, whatever the text` : `up to ${model.maxTokens}, as many as the text has`;
  const facts = {
    File: model.name,
    Kind: model.kind.replaceAll("_", " "),
    Size: `${(model.bytes / 1e6).toFixed(2)} MB`,
    Tokens: tokens,
    Vocabulary: `${model.pieces} pieces`,
    Labels: model.labels.join(", "),
    Threads: model.threads > 1 ? `up to ${model.threads}` : `1: ${whyOneThread()}`,
  };
  byId("facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value)
    .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  byId("facts").hidden = false;
}

function whyOneThread() {
  if (!window.isSecureContext) return "the page does not come over HTTPS";
  if (!window.crossOriginIsolated) return "the server does not isolate the page (COOP, COEP)";
  return "the device has one core";
}

const run = newest(async () => {
  const mine = client;
  const asked = view.read(Object.fromEntries(new FormData(byId("asked"))));
  if (!asked) return show([]);
  try {
    const result = await client.call(view.call, asked, say);
    say("");
    show(view.show(result, asked), result);
  } catch (error) {
    if (mine !== client) return;
    show([]); // what is shown was no answer to what is asked now
    complain(error);
  }
});

function show(nodes, {dropped = 0, longest = model.maxTokens} = {}) {
  byId("output").replaceChildren(...nodes);
  byId("notice").textContent = dropped
    ? `${view.cut ?? "The text"} is too long for the model (${longest} tokens): its last ${dropped} tokens are left out.` : "";
  byId("problem").hidden = true;
}

async function measure() {
  const [button] = byId("measure").getElementsByTagName("button");
  const report = message => byId("progress").textContent = message;
  const mine = client;
  button.disabled = true;
  try {
    const asked = readForm(byId("measure"), model);
    const {result, hidden} = await inView(() => client.call("benchmark", asked, report));
    byId("figures").replaceChildren(...figures({...result, thermal: {before: null, after: null, noisy: hidden}}));
    byId("problem").hidden = true;
    report("");
  } catch (error) {
    report("");
    if (mine === client) complain(error);
  } finally {
    button.disabled = false;
  }
}

function say(message) {
  byId("status").textContent = message;
}

function complain(error) {
  say("");
  byId("problem").textContent = error.message;
  byId("problem").hidden = false;
}

const openFile = file => open(file.name, async () => new Uint8Array(await file.arrayBuffer()));

/** A file beside the page, such as ?model=model.tflite. */
function openAddress(address) {
  open(address.split("/").at(-1), async () => {
    const response = await fetch(address);
    if (!response.ok) throw new Error(`${address} is not there (${response.status})`);
    return new Uint8Array(await response.arrayBuffer());
  });
}

byId("file").addEventListener("change", ({target}) => {
  if (target.files.length) openFile(target.files[0]);
  target.value = ""; // else the same file, exported again, would be no change
});
byId("asked").addEventListener("input", run);
byId("asked").addEventListener("submit", event => event.preventDefault());
byId("measure").addEventListener("submit", event => {
  event.preventDefault();
  measure();
});
// Text that is dragged goes into the fields, as everywhere.
const carriesFiles = ({dataTransfer}) => dataTransfer.types.includes("Files");
document.addEventListener("dragover", event => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", ({relatedTarget}) =>
  relatedTarget || document.body.classList.remove("dragging"));
document.addEventListener("drop", event => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  document.body.classList.remove("dragging");
  if (event.dataTransfer.files.length) openFile(event.dataTransfer.files[0]);
});
const given = new URLSearchParams(location.search).get("model");
if (given) openAddress(given);
