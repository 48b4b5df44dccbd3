/** Measures a file in this browser, as python -m mobilebert_tf.benchmark does on a computer. */

import {version} from "../vendor/litert.js";
import {Engine} from "./engine.js";
import {latencyRow} from "./statistics.js";

/**
 * @param {import("./tflite_file.js").TfliteFile} file
 * @param {object} asked
 * @param {number[]} asked.lengths tokens
 * @param {number[]} asked.threads
 * @param {number} asked.warmUp runs that do not count
 * @param {number} asked.runs
 * @param {function(string): void} progress is told what is being measured
 * @returns {Promise<object>} the JSON of `python -m mobilebert_tf.benchmark --json` with the Android app's
 *   further keys, but for "thermal", which only the page can tell; what a browser does not tell (cpu,
 *   resize_ms, peak_mb, memory_mb) is null
 */
export async function benchmark(file, {lengths, threads, warmUp, runs}, progress) {
  const latency = [];
  let load = null;
  for (const count of threads) {
    const engine = new Engine(file, count);
    try {
      for (const tokens of lengths) {
        progress(`${tokens} tokens, ${count} thread${count > 1 ? "s" : ""}`);
        const start = performance.now(), timed = await engine.timed(tokens);
        load ??= performance.now() - start;
        const row = latencyRow(await measured(timed, warmUp, runs), tokens, count);
        latency.push({file: file.name, ...row, accelerator: "WebAssembly"});
      }
    } finally {
      engine.delete();
    }
  }
  const footprint = {load_ms: load, resize_ms: null, peak_mb: null, memory_mb: null};
  return {...circumstances(), files: [{file: file.name, bytes: file.bytes.length, ...footprint}], latency};
}

async function measured(timed, warmUp, runs) {
  for (let i = 0; i < warmUp; i++) await timed();
  const times = [];
  for (let i = 0; i < runs; i++) times.push(await timed());
  return times;
}

function circumstances() {
  const {userAgent, hardwareConcurrency} = navigator;
  return {
    machine: {cpu: null, cores: hardwareConcurrency, device: userAgent},
    date: new Date().toISOString().replace(/\.\d+Z$/, "+00:00"),
    versions: {"@litertjs/core": version},
  };
}
