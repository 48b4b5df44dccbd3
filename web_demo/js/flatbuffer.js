/**
 * The few parts of a .tflite file (schema.fbs of TensorFlow Lite) that the page reads, and the one
 * that it changes: how many tokens the file takes.
 *
 * LiteRT.js has no call that resizes an input. But in a file for any length that length is only
 * written down: each tensor has a shape such as [1,1] and a "shape signature" such as [1,-1], and
 * what lies between inputs and outputs is worked out when the file is prepared. So the page writes
 * the length that it wants into its copy of the file before LiteRT.js prepares it: one file, one
 * set of weights, any length.
 */

const SIGNATURE_NAME = "serving_default";
const INPUTS = ["ids", "mask", "segment_ids"];
/** Outputs with an entry for each token, in their second dimension. */
export const BY_TOKEN = ["mlm_logits", "token_probability", "start_logits", "end_logits"];
const MAGIC = 0x334c4654; // "TFL3" at byte 4
const FLOAT32 = 0;
// Numbers of the fields in schema.fbs.
const MODEL = {subgraphs: 2, signatures: 7};
const SUBGRAPH = {tensors: 0};
const TENSOR = {shape: 0, type: 1, quantization: 4, shapeSignature: 7};
const QUANTIZATION = {scales: 2};
const SIGNATURE = {inputs: 0, outputs: 1, name: 2, subgraph: 4};
const NAMED_TENSOR = {name: 0, tensor: 1};

/**
 * What the page needs to know of a model's graph.
 * @typedef {object} Graph
 * @property {?number} fixedLength tokens that it takes; null for any number
 * @property {boolean} hasFloatOutputs LiteRT.js reads no others
 * @property {Object<string, number>} widths of the outputs by name: numbers of a row, such as classes
 * @property {function(number): void} setLength writes a number of tokens into the file's bytes
 */

/**
 * @param {Uint8Array} bytes a .tflite file
 * @returns {Graph}
 * @throws {Error} if it is none, or no text model of ours
 */
export function readGraph(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 8 || view.getUint32(4, true) !== MAGIC) throw new Error("not a TFLite model");
  const model = {view, at: follow(view, 0)};
  const signature = tables(model, MODEL.signatures)
    .find(each => text(each, SIGNATURE.name) === SIGNATURE_NAME);
  if (!signature) throw new Error(`no signature ${SIGNATURE_NAME}`);
  const graph = tables(model, MODEL.subgraphs)[number(signature, SIGNATURE.subgraph)];
  const tensors = tables(graph, SUBGRAPH.tensors);
  const named = field => Object.fromEntries(tables(signature, field).map(each =>
    [text(each, NAMED_TENSOR.name), tensors[number(each, NAMED_TENSOR.tensor)]]));
  const inputs = named(SIGNATURE.inputs), outputs = named(SIGNATURE.outputs);
  for (const name of INPUTS) {
    if (!inputs[name]) throw new Error(`no input ${name}`);
  }
  if (Object.values(outputs).some(tensor => scales(tensor).some(Number.isNaN))) {
    throw new Error("a scale is no number");
  }
  const byToken = Object.keys(outputs).filter(name => BY_TOKEN.includes(name));
  const places = [...INPUTS.map(name => inputs[name]), ...byToken.map(name => outputs[name])]
    .flatMap(tensor => [TENSOR.shape, TENSOR.shapeSignature].map(field => secondOf(tensor, field)))
    .filter(place => place !== null);
  const length = view.getInt32(secondOf(inputs.ids, TENSOR.shapeSignature) ??
    secondOf(inputs.ids, TENSOR.shape), true);
  return {
    fixedLength: length < 0 ? null : length,
    widths: Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, widthOf(tensor)])),
    hasFloatOutputs: Object.values(outputs).every(tensor => byte(tensor, TENSOR.type) === FLOAT32),
    setLength: tokens => places.forEach(place => view.setInt32(place, tokens, true)),
  };
}

/** What an integer tensor's numbers are scaled by. */
function scales(tensor) {
  const at = fieldAt(tensor, TENSOR.quantization);
  if (!at) return [];
  const found = vector({view: tensor.view, at: follow(tensor.view, at)}, QUANTIZATION.scales);
  return Array.from({length: found.size}, (_, i) => tensor.view.getFloat32(found.at + 4 * i, true));
}

/** Where the second dimension is written; null if the tensor has no such field. */
function secondOf(tensor, field) {
  const {at, size} = vector(tensor, field);
  return size > 1 ? at + 4 : null;
}

/** The last dimension; 0 of a tensor without any. */
function widthOf(tensor) {
  const {at, size} = vector(tensor, TENSOR.shape);
  return size && tensor.view.getInt32(at + 4 * (size - 1), true);
}

// The format of FlatBuffers: a table begins with the distance back to its list of fields, which
// says how far behind the table's beginning each field lies; 0 for one that is left out.

function fieldAt({view, at}, field) {
  const list = at - view.getInt32(at, true);
  const place = 4 + 2 * field;
  const distance = place < view.getUint16(list, true) ? view.getUint16(list + place, true) : 0;
  return distance && at + distance;
}

const follow = (view, at) => at + view.getUint32(at, true);

function number(table, field) {
  const at = fieldAt(table, field);
  return at ? table.view.getUint32(at, true) : 0;
}

function byte(table, field) {
  const at = fieldAt(table, field);
  return at ? table.view.getInt8(at) : 0;
}

/** A vector's place and size; both 0 for one that is left out. */
function vector(table, field) {
  const at = fieldAt(table, field);
  if (!at) return {at: 0, size: 0};
  const start = follow(table.view, at);
  return {at: start + 4, size: table.view.getUint32(start, true)};
}

function tables(table, field) {
  const {at, size} = vector(table, field);
  if (size > table.view.byteLength / 4) throw new Error("a list is longer than the file");
  return Array.from({length: size}, (_, i) => ({view: table.view, at: follow(table.view, at + 4 * i)}));
}

function text(table, field) {
  const {at, size} = vector(table, field);
  const {buffer, byteOffset} = table.view;
  return new TextDecoder().decode(new Uint8Array(buffer, byteOffset + at, size));
}
