package mobilebert.benchmark

import mobilebert.model.Engine
import mobilebert.text.ModelInputs

/**
 * Times an engine on texts of one length.
 *
 * @param tokens T: real tokens; numbers of no meaning, for time does not depend on them.
 * @param length what the engine is given: [tokens], or the fixed length of the file, padded to it.
 * @param warmUp untimed runs first: the first one allocates for the length.
 * @param runs timed ones.
 * @param onRun called after each timed run with how many there were; it may throw to stop.
 * @param clock nanoseconds from any start.
 */
fun measureLatency(
    engine: Engine,
    tokens: Int,
    length: Int = tokens,
    warmUp: Int = 3,
    runs: Int = 50,
    onRun: (Int) -> Unit = {},
    clock: () -> Long = System::nanoTime,
): LatencyStatistics {
    require(tokens in 1..length && warmUp >= 1 && runs >= 1) { "tokens, warmUp and runs must be at least 1" }
    val mask = IntArray(length) { if (it < tokens) 1 else 0 }
    val inputs = ModelInputs(mask, mask, IntArray(length))
    repeat(warmUp) { engine.run(inputs) }
    val milliseconds = DoubleArray(runs) { run ->
        val start = clock()
        engine.run(inputs)
        ((clock() - start) / NANOSECONDS).also { onRun(run + 1) }
    }
    return LatencyStatistics.of(milliseconds)
}

private const val NANOSECONDS = 1e6 // in a millisecond
