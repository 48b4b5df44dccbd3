/** The uncompressed ZIP that lies behind a .tflite file's graph. */

const END = 0x06054b50, ENTRY = 0x02014b50;
const END_SIZE = 22, LONGEST_COMMENT = 0xffff;

/**
 * The archive's files; none if there is no archive.
 * @param {Uint8Array} bytes what ends in the archive
 * @returns {Map<string, string>} text by name
 * @throws {Error} if the archive is damaged, or compressed
 */
export function readZip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = findEnd(view), files = new Map();
  if (end === null) return files;
  const size = view.getUint32(end + 12, true), start = view.getUint32(end + 16, true);
  const shift = end - size - start; // offsets count from where the archive begins
  for (let at = end - size; at < end;) {
    if (view.getUint32(at, true) !== ENTRY) throw new Error("its archive is damaged");
    const lengths = [28, 30, 32].map(place => view.getUint16(at + place, true));
    const name = text(bytes, at + 46, lengths[0]);
    if (view.getUint16(at + 10, true) !== 0) throw new Error(`${name} in its archive is compressed`);
    const header = shift + view.getUint32(at + 42, true);
    const content = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
    files.set(name, text(bytes, content, view.getUint32(at + 20, true)));
    at += 46 + lengths[0] + lengths[1] + lengths[2];
  }
  return files;
}

function findEnd(view) {
  const last = view.byteLength - END_SIZE;
  for (let at = last; at >= Math.max(0, last - LONGEST_COMMENT); at--) {
    if (view.getUint32(at, true) === END) return at;
  }
  return null;
}

function text(bytes, start, length) {
  if (start + length > bytes.length) throw new Error("its archive is damaged");
  return new TextDecoder("utf-8", {fatal: true}).decode(bytes.subarray(start, start + length));
}
