// Where a model runs, so that typing stays smooth. A classic worker, since LiteRT.js loads its
// runtime with importScripts; everything else is modules.
const modules = Promise.all(
  ["engine", "tflite_file", "pipeline", "benchmark", "results"].map(name => import(`./${name}.js`)));
let pipeline;
const embeddings = new Map(); // by text

const calls = {
  async open({name, bytes}, [{Engine, loadRuntime}, {openTflite}, {Pipeline}]) {
    const file = openTflite(name, bytes), threads = await loadRuntime();
    pipeline = new Pipeline(new Engine(file));
    const {kind, labels, maxTokens, pairs, vocabulary, graph: {fixedLength}} = file;
    await pipeline.engine.prepare(fixedLength ?? 3); // a file that does not run is refused here
    return {name, kind, labels, maxTokens, pairs, fixedLength, threads, bytes: bytes.length, pieces: vocabulary.length};
  },

  run: asked => pipeline.run(asked),

  /** Texts by how alike they are to the query. */
  async search({query, texts}, [, , , , {rank}], progress) {
    const fresh = [...new Set(texts)].filter(text => !embeddings.has(text));
    const tokens = new Map(fresh.map(text => [text, pipeline.tokenizer.tokenize(text).ids.length]));
    fresh.sort((a, b) => tokens.get(a) - tokens.get(b)); // texts of one length need one preparation
    for (const [done, text] of fresh.entries()) {
      progress(`${done} of ${fresh.length} texts`);
      await embedding(text);
    }
    const vectors = texts.map(text => embeddings.get(text));
    return rank(await embedding(query), vectors).map(found => ({...found, text: texts[found.place]}));
  },

  benchmark: (asked, [, , , {benchmark}], progress) => benchmark(pipeline.file, asked, progress),
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
