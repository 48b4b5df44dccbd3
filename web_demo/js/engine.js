/** LiteRT.js behind one call: a model's inputs to its outputs, by name, at the length of the text. */

import * as litert from "../vendor/litert.js";
import {BY_TOKEN} from "./flatbuffer.js";
import {InputError} from "./tflite_file.js";

const RUNTIME = new URL("../vendor/wasm/", import.meta.url);
// Lengths that stay prepared. Each has a copy of the weights: 50 MB for MobileBERT in int8, which
// takes 80 ms to prepare, as long as 90 tokens of padding would take to run.
const KEPT = 3;

/**
 * An output: values row by row, and its shape.
 * @typedef {{data: Float32Array, shape: number[]}} Output
 */

/** Loads the runtime; with threads only where the page is cross-origin isolated. */
export async function loadRuntime() {
  const threads = self.crossOriginIsolated;
  const found = {locateFile: name => new URL(name, RUNTIME).href};
  // In a worker the runtime cannot see where its own script came from.
  found.mainScriptUrlOrBlob = found.locateFile("litert_wasm_threaded_internal.js");
  self.Module = found;
  await litert.loadLiteRt(RUNTIME.href, {threads});
  return threads ? navigator.hardwareConcurrency : 1;
}

/** A file, prepared for the lengths that it is asked for. */
export class Engine {
  #graph;
  #bytes;
  #threads;
  #kept;
  #prepared = new Map(); // by length, the one used last at the end

  /**
   * @param {import("./tflite_file.js").TfliteFile} file
   * @param {number} threads
   */
  constructor(file, threads = 1) {
    this.file = file;
    this.#graph = file.graph;
    this.#bytes = file.bytes;
    this.#threads = threads;
    // Each prepared length has threads of its own, and LiteRT.js waits for ever for one too many.
    this.#kept = threads > 1 ? 1 : KEPT;
  }

  /**
   * Runs one sequence at its own length, as Python does: padding would change the numbers a little.
   * A file of fixed length pads it; its outputs by token are cut back.
   * @param {import("./features.js").Features} features [T]
   * @returns {Promise<Object<string, Output>>}
   */
  async run(features) {
    const tokens = features.ids.length, length = this.#graph.fixedLength ?? tokens;
    const model = await this.prepare(length);
    const inputs = tensors(features, length);
    try {
      return await this.#outputs(model, inputs, tokens);
    } finally {
      Object.values(inputs).forEach(tensor => tensor.delete());
    }
  }

  /**
   * Milliseconds of one run, without reading its inputs from text.
   * @param {number} tokens
   * @returns {Promise<function(): Promise<number>>}
   */
  async timed(tokens) {
    const length = this.#graph.fixedLength ?? tokens;
    const model = await this.prepare(length);
    const inputs = tensors({ids: new Int32Array(tokens).fill(1), segments: new Int32Array(tokens)}, length);
    return async () => {
      const start = performance.now();
      const outputs = await model.run(inputs);
      const time = performance.now() - start;
      Object.values(outputs).forEach(tensor => tensor.delete());
      return time;
    };
  }

  /** The file, ready for sequences of `length` tokens. */
  async prepare(length) {
    let model = this.#prepared.get(length);
    this.#prepared.delete(length);
    const [oldest] = this.#prepared.keys();
    if (!model && this.#prepared.size >= this.#kept) this.#forget(oldest);
    model ??= await this.#compile(length);
    this.#prepared.set(length, model);
    return model;
  }

  /** Gives the memory back. */
  delete() {
    [...this.#prepared.keys()].forEach(length => this.#forget(length));
  }

  async #compile(length) {
    if (this.#graph.fixedLength === null) this.#graph.setLength(length);
    const options = {accelerator: "wasm", cpuOptions: {numThreads: this.#threads}};
    try {
      return await litert.loadAndCompile(this.#bytes, options);
    } catch (error) {
      throw new InputError(`LiteRT.js does not run ${this.file.name}: ${error.message}`);
    }
  }

  async #outputs(model, inputs, tokens) {
    const outputs = await model.run(inputs), found = {};
    for (const {name, shape} of model.getOutputDetails()) {
      const dimensions = [...shape], data = await outputs[name].data();
      if (BY_TOKEN.includes(name)) dimensions[1] = tokens;
      found[name] = {data: data.slice(0, dimensions.reduce((a, b) => a * b)), shape: dimensions};
      outputs[name].delete();
    }
    return found;
  }

  #forget(length) {
    this.#prepared.get(length).delete();
    this.#prepared.delete(length);
  }
}

function tensors({ids, segments}, length) {
  const padded = values => {
    const all = new Int32Array(length);
    all.set(values);
    return new litert.Tensor(all, [1, length]);
  };
  return {ids: padded(ids), mask: padded(new Int32Array(ids.length).fill(1)), segment_ids: padded(segments)};
}
