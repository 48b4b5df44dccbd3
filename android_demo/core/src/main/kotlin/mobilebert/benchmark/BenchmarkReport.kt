package mobilebert.benchmark

import mobilebert.json.writeJson

/**
 * The figures of one or several files on one device, as JSON in the schema of
 * `python -m mobilebert_tf.benchmark FILE --json REPORT`: machine, date, versions, files, latency.
 *
 * What the phone knows more than that stands in further keys of the same objects.
 *
 * @property cpu the processor's name.
 * @property device such as "Google Pixel 8, Android 15".
 * @property date in UTC, such as "2026-11-25T12:00:00+00:00".
 * @property versions of what ran it, by name.
 */
data class BenchmarkReport(
    val cpu: String,
    val cores: Int,
    val device: String,
    val date: String,
    val versions: Map<String, String>,
    val files: List<FileFigures>,
    val latency: List<LatencyRow>,
    val thermal: Thermal,
) {
    /** The report's text. */
    fun toJson(): String = writeJson(
        mapOf(
            "machine" to mapOf("cpu" to cpu, "cores" to cores, "device" to device),
            "date" to date,
            "versions" to versions,
            "files" to files.map(FileFigures::toMap),
            "latency" to latency.map(LatencyRow::toMap),
            "thermal" to thermal.toMap(),
        ),
    )
}

/**
 * A file's size and what opening it costs.
 *
 * @property loadMs opening and the first allocation.
 * @property resizeMs to another length; null if not measured.
 * @property peakMb peak memory of the process in MiB; null if the system does not say.
 * @property memoryMb what opening it and one run added to the memory of the process. Python measures it in a fresh process;
 *   an app that has the same file open already, as the demo's screen has, has mapped its pages before and gives less.
 */
data class FileFigures(
    val file: String,
    val bytes: Long,
    val loadMs: Double,
    val resizeMs: Double?,
    val peakMb: Double?,
    val memoryMb: Double?,
) {
    internal fun toMap() = mapOf(
        "file" to file, "bytes" to bytes,
        "load_ms" to loadMs, "resize_ms" to resizeMs, "peak_mb" to peakMb, "memory_mb" to memoryMb,
    )
}

/**
 * One measurement.
 *
 * @property accelerator what really ran it, as [mobilebert.model.Engine.accelerator] says.
 */
data class LatencyRow(
    val file: String,
    val tokens: Int,
    val threads: Int,
    val accelerator: String,
    val statistics: LatencyStatistics,
) {
    internal fun toMap() = mapOf(
        "file" to file, "tokens" to tokens, "threads" to threads,
        "p50_ms" to statistics.p50Ms, "p90_ms" to statistics.p90Ms, "p99_ms" to statistics.p99Ms,
        "min_ms" to statistics.minMs, "mean_ms" to statistics.meanMs,
        "runs" to statistics.runs, "accelerator" to accelerator,
    )
}

/**
 * How hot the device was, and whether that or something else makes the figures doubtful.
 *
 * @property before and [after] the system's words for its heat, such as "none", "light", "moderate", "severe"; null where
 *   it does not say.
 * @property noisy whether the figures are in doubt.
 */
data class Thermal(val before: String?, val after: String?, val noisy: Boolean) {
    internal fun toMap() = mapOf("before" to before, "after" to after, "noisy" to noisy)
}
