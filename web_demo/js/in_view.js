/** Measuring only counts while the page is seen: browsers slow down what they do not show. */

/**
 * Keeps the screen on while something runs, and tells whether the page was in view all the time.
 * @template T
 * @param {function(): Promise<T>} run
 * @returns {Promise<{result: T, hidden: boolean}>} hidden: whether it was not, once or more
 */
export async function inView(run) {
  let {hidden} = document;
  const look = () => hidden ||= document.hidden;
  document.addEventListener("visibilitychange", look);
  // There is none over plain HTTP, and it is refused to save power: the screen may then go off, which is seen.
  const lock = await navigator.wakeLock?.request("screen").catch(() => null);
  try {
    return {result: await run(), hidden};
  } finally {
    document.removeEventListener("visibilitychange", look);
    lock?.release();
  }
}
