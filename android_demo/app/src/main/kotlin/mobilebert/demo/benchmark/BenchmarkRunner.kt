package mobilebert.demo.benchmark

import mobilebert.benchmark.BenchmarkReport
import mobilebert.benchmark.FileFigures
import mobilebert.benchmark.LatencyRow
import mobilebert.benchmark.Thermal
import mobilebert.benchmark.measureLatency
import mobilebert.demo.Ticket
import mobilebert.demo.engine.EngineFactory
import mobilebert.model.Engine
import mobilebert.model.ModelFile
import mobilebert.text.ModelInputs
import java.nio.ByteBuffer

/** The file to measure: its name, its bytes and what it says of itself. */
class Subject(val name: String, val content: ByteBuffer, val file: ModelFile)

/** Why figures may not be what the phone can do. */
enum class Doubt { HOT, POWER_SAVING, LEFT, UNSTEADY }

class BenchmarkResult(val report: BenchmarkReport, val doubts: Set<Doubt>, val tooLong: List<Int>)

/**
 * Measures a file on a device, with an engine of its own.
 *
 * @param wasLeft whether the user looked at something else since it began: the system slows what nobody sees.
 */
class BenchmarkRunner(
    private val engines: EngineFactory,
    private val device: Device,
    private val now: () -> String,
    private val wasLeft: () -> Boolean,
) {
    /** Runs for a while; [ticket] is told of each timed run. */
    fun run(subject: Subject, settings: BenchmarkSettings, ticket: Ticket): BenchmarkResult {
        val before = device.heat()
        val savesPower = device.savesPower()
        val figures = fileFigures(subject, settings)
        val latency = latency(subject, settings, ticket)
        val after = device.heat()
        val doubts = doubts(before, after, savesPower, wasLeft(), latency)
        val report = BenchmarkReport(
            cpu = device.cpu,
            cores = device.cores,
            device = device.name,
            date = now(),
            versions = device.versions + engines.runtime,
            files = listOf(figures),
            latency = latency,
            thermal = Thermal(before?.let(::word), after?.let(::word), noisy = doubts.isNotEmpty()),
        )
        return BenchmarkResult(report, doubts, settings.tooLong)
    }

    private fun fileFigures(subject: Subject, settings: BenchmarkSettings): FileFigures {
        val before = device.memory()
        val start = System.nanoTime()
        val engine = engines.open(subject.content, subject.file, settings.threads.first(), settings.accelerator)
        val loadMs = (System.nanoTime() - start) / 1e6
        val after = engine.use {
            it.run(tokens(settings.lengths.last(), subject.file))
            device.memory()
        }
        return FileFigures(
            file = subject.name,
            bytes = subject.content.capacity().toLong(),
            loadMs = loadMs,
            resizeMs = null, // the interpreter's Java API resizes within a run
            peakMb = after?.peak,
            memoryMb = if (before == null || after == null) null else maxOf(0.0, after.now - before.now),
        )
    }

    private fun latency(subject: Subject, settings: BenchmarkSettings, ticket: Ticket): List<LatencyRow> {
        val total = settings.threads.size * settings.lengths.size * settings.runs
        var done = 0
        return settings.threads.flatMap { threads ->
            engines.open(subject.content, subject.file, threads, settings.accelerator).use { engine ->
                settings.lengths.map { length ->
                    ticket.report(done, total)
                    val statistics = measureLatency(
                        engine,
                        tokens = length,
                        length = subject.file.fixedLength ?: length,
                        runs = settings.runs,
                        onRun = { ticket.report(done + it, total) },
                    )
                    done += settings.runs
                    LatencyRow(subject.name, length, threads, engine.accelerator, statistics)
                }
            }
        }
    }

    private fun tokens(count: Int, file: ModelFile): ModelInputs {
        val length = file.fixedLength ?: count
        return ModelInputs(IntArray(length), IntArray(length) { if (it < count) 1 else 0 }, IntArray(length))
    }

    internal companion object {
        /** p90 over p50 above which something else was running. */
        private const val STEADY = 1.5

        fun doubts(
            before: Heat?,
            after: Heat?,
            savesPower: Boolean,
            wasLeft: Boolean,
            latency: List<LatencyRow>,
        ): Set<Doubt> = buildSet {
            if (listOfNotNull(before, after).any { it >= Heat.MODERATE } || before != after) add(Doubt.HOT)
            if (savesPower) add(Doubt.POWER_SAVING)
            if (wasLeft) add(Doubt.LEFT)
            if (latency.any { it.statistics.p90Ms > STEADY * it.statistics.p50Ms }) add(Doubt.UNSTEADY)
        }

        private fun word(heat: Heat) = heat.name.lowercase()
    }
}
