/** The machine's Chromium, driven by playwright-core of web_demo/node_modules. */
import fs from "node:fs";
import {createRequire} from "node:module";
import os from "node:os";
import path from "node:path";

const MODULES = path.join(import.meta.dirname, "../../web_demo/x.js");
const {chromium} = createRequire(MODULES)("playwright-core");
const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
  "--disable-background-networking", "--disable-component-update",
  "--host-resolver-rules=MAP another.test 127.0.0.1"]; // this machine as one that is not: plain HTTP is not secure there

/**
 * @param {object} options of playwright's launchPersistentContext, such as a viewport
 * @returns {Promise<{context: object, close: function(): Promise<void>}>}
 */
export async function launch(options = {}) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "chromium-"));
  const context = await chromium.launchPersistentContext(
    folder, {executablePath: process.env.CHROMIUM, headless: true, args: ARGS, ...options});
  const close = async () => {
    await context.close();
    fs.rmSync(folder, {recursive: true, force: true});
  };
  return {context, close};
}
