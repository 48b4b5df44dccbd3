package mobilebert.demo.benchmark

import mobilebert.InputException
import mobilebert.demo.engine.Accelerator
import mobilebert.model.ModelFile

/**
 * What to measure.
 *
 * @property lengths tokens of the texts, in increasing order.
 * @property threads thread counts.
 * @property runs timed runs of each combination.
 * @property tooLong lengths that were asked for but that the model does not take.
 */
data class BenchmarkSettings(
    val lengths: List<Int>,
    val threads: List<Int>,
    val runs: Int,
    val accelerator: Accelerator,
    val tooLong: List<Int> = emptyList(),
) {
    companion object {
        /** @throws InputException for what is no number, or nothing to measure. */
        fun of(file: ModelFile, lengths: String, threads: List<Int>, runs: String, accelerator: Accelerator): BenchmarkSettings {
            val asked = lengths.split(',', ' ').filter(String::isNotBlank).map { number(it, "lengths") }.distinct().sorted()
            val (taken, tooLong) = asked.partition { it <= file.maxTokens }
            if (taken.isEmpty()) throw InputException("lengths: give numbers from 1 to ${file.maxTokens}, such as 16, 32")
            if (threads.isEmpty()) throw InputException("threads: choose at least one number")
            return BenchmarkSettings(taken, threads, number(runs, "runs"), accelerator, tooLong)
        }

        private fun number(text: String, name: String): Int =
            text.trim().toIntOrNull()?.takeIf { it in 1..LARGEST } ?: throw InputException("$name: $text is no number from 1 to $LARGEST")

        private const val LARGEST = 100_000
    }
}
