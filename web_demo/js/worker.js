// Where the model runs, so that typing stays smooth. A classic worker, since LiteRT.js loads its
// runtime with importScripts; everything else is modules.
const modules = Promise.all(
  ["engine", "tflite_file", "pipeline", "benchmark", "results"].map(name => import(`./${name}.js`)));
let threads, file, pipeline;
const embeddings = new Map(); // by text, of the file that is open

const calls = {
  async open({name, bytes}, [{Engine, loadRuntime}, {openTflite}, {Pipeline}]) {
    const opened = openTflite(name, bytes);
    threads ??= await loadRuntime();
    const next = new Pipeline(new Engine(opened));
    await next.engine.prepare(next.engine.lengthFor(1)); // a file that does not run is refused here
    pipeline?.engine.delete();
    embeddings.clear();
    [file, pipeline] = [opened, next];
    const {kind, labels, maxTokens, vocabulary, graph: {fixedLength}} = file;
    return {name, kind, labels, maxTokens, fixedLength, threads, bytes: bytes.length, pieces: vocabulary.length};
  },

  run: asked => pipeline.run(asked),

  /** Texts by how alike they are to the query. */
  async search({query, texts}, [, , , , {rank}], progress) {
    const vectors = [];
    for (const text of texts) {
      vectors.push(await embedding(text));
      progress(`${vectors.length} of ${texts.length} texts`);
    }
    return rank(await embedding(query), vectors).map(found => ({...found, text: texts[found.place]}));
  },

  benchmark: (asked, [, , , {benchmark}], progress) => benchmark(file, asked, progress),
};

async function embedding(text) {
  if (!embeddings.has(text)) embeddings.set(text, (await pipeline.run({text})).embedding);
  return embeddings.get(text);
}

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
