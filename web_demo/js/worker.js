// Where a model runs, so that typing stays smooth. A classic worker, since LiteRT.js loads its
// runtime with importScripts; everything else is modules.
const modules = Promise.all(
  ["engine", "tflite_file", "pipeline", "benchmark"].map(name => import(`./${name}.js`)));
let pipeline;

const calls = {
  async open({name, bytes}, [{Engine, loadRuntime}, {openTflite}, {Pipeline}]) {
    const file = openTflite(name, bytes), threads = await loadRuntime();
    pipeline = new Pipeline(new Engine(file));
    const {kind, labels, maxTokens, pairs, vocabulary, graph: {fixedLength}} = file;
    await pipeline.engine.prepare(fixedLength ?? 3); // a file that does not run is refused here
    return {name, kind, labels, maxTokens, pairs, fixedLength, threads, bytes: bytes.length, pieces: vocabulary.length};
  },

  run: asked => pipeline.run(asked),

  search: (asked, _, progress) => pipeline.search(asked, progress),

  benchmark: (asked, [, , , {benchmark}], progress) => benchmark(pipeline.file, asked, progress),
};

// One call after the other, in the order in which they come.
let last = Promise.resolve();
onmessage = ({data: {id, call, asked}}) => {
  last = last.then(async () => {
    try {
      const progress = message => postMessage({id, progress: message});
      postMessage({id, result: await calls[call](asked, await modules, progress)});
    } catch (error) {
      postMessage({id, error: error.message});
    }
  });
};
