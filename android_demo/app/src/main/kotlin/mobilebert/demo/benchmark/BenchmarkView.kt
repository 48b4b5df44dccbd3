package mobilebert.demo.benchmark

import android.view.Gravity
import android.view.View
import android.view.ViewGroup
import android.widget.TableLayout
import android.widget.TableRow
import android.widget.TextView
import mobilebert.benchmark.LatencyRow
import mobilebert.demo.R
import mobilebert.demo.task.decimal
import kotlin.math.roundToInt

/** Shows the figures of a benchmark in [parent], which is hidden as long as there are none. */
class BenchmarkView(private val parent: ViewGroup) {
    private val resources = parent.resources

    /** Shows a result; null for none. */
    fun show(result: BenchmarkResult?) {
        parent.visibility = if (result == null) View.GONE else View.VISIBLE
        if (result == null) return
        parent.findViewById<TextView>(R.id.verdict).text = verdict(result.doubts)
        parent.findViewById<TextView>(R.id.facts).text = facts(result).joinToString("\n")
        parent.findViewById<LatencyChart>(R.id.chart).show(result.report.latency)
        showTable(parent.findViewById(R.id.table), result.report.latency)
    }

    private fun verdict(doubts: Set<Doubt>): String {
        if (doubts.isEmpty()) return resources.getString(R.string.steady)
        val reasons = doubts.joinToString { resources.getString(reason(it)) }
        return resources.getString(R.string.noisy, reasons)
    }

    private fun reason(doubt: Doubt) = when (doubt) {
        Doubt.HOT -> R.string.doubt_hot
        Doubt.POWER_SAVING -> R.string.doubt_power_saving
        Doubt.LEFT -> R.string.doubt_left
        Doubt.UNSTEADY -> R.string.doubt_unsteady
    }

    private fun facts(result: BenchmarkResult): List<String> {
        val file = result.report.files.single()
        val thermal = result.report.thermal
        return listOfNotNull(
            resources.getString(R.string.ran_on, result.report.latency.map { it.accelerator }.distinct().joinToString()),
            resources.getString(R.string.load_time, decimal(file.loadMs)),
            file.peakMb?.let { resources.getString(R.string.peak_memory, it.roundToInt(), (file.memoryMb ?: 0.0).roundToInt()) },
            thermal.before?.let { resources.getString(R.string.heat, it, thermal.after) },
            result.tooLong.takeIf { it.isNotEmpty() }?.let { resources.getString(R.string.too_long, it.joinToString()) },
        )
    }

    private fun showTable(table: TableLayout, rows: List<LatencyRow>) {
        table.removeAllViews()
        val header = listOf(R.string.tokens, R.string.threads, R.string.p50, R.string.p90, R.string.p99)
        table.addView(tableRow(header.map(resources::getString)))
        for (row in rows) {
            val times = listOf(row.statistics.p50Ms, row.statistics.p90Ms, row.statistics.p99Ms)
            table.addView(tableRow(listOf(row.tokens.toString(), row.threads.toString()) + times.map { decimal(it) }))
        }
    }

    private fun tableRow(cells: List<String>) = TableRow(parent.context).apply {
        for (cell in cells) {
            val view = TextView(context)
            view.text = cell
            view.gravity = Gravity.END
            view.setPaddingRelative(0, 0, resources.getDimensionPixelSize(R.dimen.gap), 0)
            addView(view)
        }
        contentDescription = cells.joinToString() // a row is read as one
        isFocusable = true
    }
}
