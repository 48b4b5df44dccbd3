/** Latency figures, as python -m mobilebert_tf.benchmark gives them. */

/**
 * The value below which a share of the values lies, between two of them by a straight line
 * (numpy.percentile's own way).
 * @param {number[]} values at least one
 * @param {number} percent 0 to 100
 */
export function percentile(values, percent) {
  const sorted = [...values].sort((a, b) => a - b);
  const place = (sorted.length - 1) * percent / 100, below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

/**
 * A row of the benchmark.
 * @param {number[]} times milliseconds of each run
 * @param {number} tokens
 * @param {number} threads
 */
export function latencyRow(times, tokens, threads) {
  const [p50, p90, p99] = [50, 90, 99].map(percent => percentile(times, percent));
  const mean = times.reduce((a, b) => a + b) / times.length;
  return {tokens, threads, p50_ms: p50, p90_ms: p90, p99_ms: p99, min_ms: Math.min(...times),
    mean_ms: mean, runs: times.length};
}
