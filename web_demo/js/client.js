/**
 * The page's side of worker.js: calls as promises. Each file gets a client, and so a worker, of its
 * own: LiteRT.js is not to be trusted after it failed.
 */
export class Client {
  #worker = new Worker(new URL("./worker.js", import.meta.url));
  #waiting = new Map();
  #count = 0;

  constructor() {
    this.#worker.onmessage = ({data: {id, result, error, progress}}) => {
      const {resolve, reject, report} = this.#waiting.get(id);
      if (progress !== undefined) return report(progress);
      this.#waiting.delete(id);
      if (error === undefined) resolve(result);
      else reject(new Error(error));
    };
    this.#worker.onerror = ({message}) => {
      this.#waiting.forEach(({reject}) => reject(new Error(message ?? "the worker does not start")));
      this.#waiting.clear();
    };
  }

  /**
   * @param {"open"|"run"|"search"|"benchmark"} call as in worker.js; open comes first
   * @param {object} asked
   * @param {function(string): void} report is told how far it is
   */
  call(call, asked, report = () => {}) {
    const id = ++this.#count;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, {resolve, reject, report});
      this.#worker.postMessage({id, call, asked});
    });
  }

  /** Ends the worker, whatever it does. */
  end() {
    this.#worker.terminate();
    this.#waiting.forEach(({reject}) => reject(new Error("another file was opened")));
  }
}

/**
 * Only the newest call counts: those that wait are dropped when another one comes.
 * @param {function(): Promise<void>} run
 * @returns {function(): void} asks for a run
 */
export function newest(run) {
  let running = false, again = false;
  return async function ask() {
    if (running) {
      again = true;
      return;
    }
    running = true;
    do {
      again = false;
      await run();
    } while (again);
    running = false;
  };
}
