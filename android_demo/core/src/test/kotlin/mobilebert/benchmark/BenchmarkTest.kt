package mobilebert.benchmark

import mobilebert.Goldens
import mobilebert.assertClose
import mobilebert.doubles
import mobilebert.json.parseJson
import mobilebert.list
import mobilebert.map
import mobilebert.model.Engine
import mobilebert.model.Tensor
import mobilebert.text.ModelInputs
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

class BenchmarkTest {
    @Test
    fun figuresArePythons() = Goldens.eachCase("latency") { case ->
        val expected = map(case.expected).mapValues { it.value as Double }
        val found = LatencyStatistics.of(doubles(case.given["milliseconds"]))
        val actual = mapOf(
            "p50_ms" to found.p50Ms, "p90_ms" to found.p90Ms, "p99_ms" to found.p99Ms,
            "min_ms" to found.minMs, "mean_ms" to found.meanMs,
        )
        assertEquals(expected.keys, actual.keys)
        for ((name, value) in expected) assertClose(value, actual.getValue(name), 1e-9)
    }

    private class Clocked : Engine {
        var now = 0L
        val seen = mutableListOf<ModelInputs>()
        override val accelerator = "none"

        override fun run(inputs: ModelInputs): Map<String, Tensor> {
            seen += inputs
            now += 1_000_000L * seen.size
            return emptyMap()
        }

        override fun close() = Unit
    }

    @Test
    fun warmUpIsNotTimed() {
        val engine = Clocked()
        val counted = mutableListOf<Int>()
        val found = measureLatency(engine, tokens = 3, length = 5, warmUp = 2, runs = 4, counted::add) { engine.now }
        assertEquals(LatencyStatistics(4, 3.0, 4.5, 4.5, 5.7, 5.97), found.copy(p99Ms = 5.97))
        assertClose(5.97, found.p99Ms)
        assertEquals(listOf(1, 2, 3, 4), counted)
        assertEquals(6, engine.seen.size)
        assertEquals(listOf(1, 1, 1, 0, 0), engine.seen[0].mask.toList())
    }

    @Test
    fun atLeastOneRun() {
        assertFailsWith<IllegalArgumentException> { LatencyStatistics.of(doubleArrayOf()) }
        assertFailsWith<IllegalArgumentException> { measureLatency(Clocked(), tokens = 0) }
    }

    @Test
    fun aReportHasTheKeysOfPythons() {
        val row = LatencyRow("a.tflite", 16, 2, "CPU", LatencyStatistics.of(doubleArrayOf(1.0, 2.0)))
        val report = BenchmarkReport(
            cpu = "Tensor G3", cores = 9, device = "a phone", date = "2026-11-25T12:00:00+00:00",
            versions = mapOf("litert" to "1.4.0"),
            files = listOf(FileFigures("a.tflite", 1234, 5.0, null, null, null)),
            latency = listOf(row),
            thermal = Thermal("none", "severe", noisy = true),
        )
        val read = map(parseJson(report.toJson()))
        assertEquals(listOf("machine", "date", "versions", "files", "latency", "thermal"), read.keys.toList())
        val file = map(list(read["files"]).single())
        assertEquals(listOf("file", "bytes", "load_ms", "resize_ms", "peak_mb", "memory_mb"), file.keys.toList())
        val keys = listOf("file", "tokens", "threads", "p50_ms", "p90_ms", "p99_ms")
        assertEquals(keys, map(list(read["latency"]).single()).keys.take(6))
        assertEquals(mapOf("before" to "none", "after" to "severe", "noisy" to true), read["thermal"])
    }
}
