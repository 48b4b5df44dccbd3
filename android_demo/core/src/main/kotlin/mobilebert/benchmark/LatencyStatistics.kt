package mobilebert.benchmark

import kotlin.math.floor

/**
 * What is said of a series of run times, in milliseconds; as `python -m mobilebert_tf.benchmark` computes it.
 */
data class LatencyStatistics(
    val runs: Int,
    val minMs: Double,
    val meanMs: Double,
    val p50Ms: Double,
    val p90Ms: Double,
    val p99Ms: Double,
) {
    companion object {
        /** @param milliseconds at least one run. */
        fun of(milliseconds: DoubleArray): LatencyStatistics {
            require(milliseconds.isNotEmpty()) { "no run was timed" }
            val sorted = milliseconds.sortedArray()
            return LatencyStatistics(
                runs = sorted.size,
                minMs = sorted[0],
                meanMs = sorted.average(),
                p50Ms = percentile(sorted, 50.0),
                p90Ms = percentile(sorted, 90.0),
                p99Ms = percentile(sorted, 99.0),
            )
        }

        /** Interpolated linearly between the two nearest runs, as numpy.percentile does. */
        private fun percentile(sorted: DoubleArray, percent: Double): Double {
            val place = percent / 100 * (sorted.size - 1)
            val below = floor(place).toInt()
            val above = minOf(below + 1, sorted.size - 1)
            return sorted[below] + (sorted[above] - sorted[below]) * (place - below)
        }
    }
}
