package mobilebert.demo.benchmark

import android.content.Context
import android.graphics.Canvas
import android.graphics.Paint
import android.util.AttributeSet
import android.view.View
import mobilebert.benchmark.LatencyRow
import mobilebert.demo.R
import mobilebert.demo.task.decimal

/** p50 by text length, a line for each number of threads, with p90 as a thin whisker, cut off where it leaves the chart. */
class LatencyChart(context: Context, attributes: AttributeSet?) : View(context, attributes) {
    private val colors = resources.getIntArray(R.array.lines)
    private val line = Paint(Paint.ANTI_ALIAS_FLAG).apply { strokeWidth = dimension(R.dimen.line) }
    private val axis = Paint(Paint.ANTI_ALIAS_FLAG).apply { color = context.getColor(R.color.axis) }
    private val text = Paint(Paint.ANTI_ALIAS_FLAG).apply {
        color = context.getColor(R.color.axis)
        textSize = dimension(R.dimen.chart_text)
    }
    private var rows = emptyList<LatencyRow>()

    /** Draws the figures in place of those before. */
    fun show(rows: List<LatencyRow>) {
        this.rows = rows
        contentDescription = rows.joinToString("\n") {
            resources.getString(R.string.chart_row, it.tokens, it.threads, decimal(it.statistics.p50Ms))
        }
        invalidate()
    }

    override fun onDraw(canvas: Canvas) {
        super.onDraw(canvas)
        if (rows.isEmpty()) return
        val plot = Plot(
            left = text.measureText(MILLISECONDS.format(highest())) + text.textSize,
            top = text.textSize * 2,
            right = width - text.textSize * 2,
            bottom = height - text.textSize * 2,
            tokens = rows.maxOf { it.tokens },
            milliseconds = highest(),
        )
        drawAxes(canvas, plot)
        rows.groupBy { it.threads }.values.forEachIndexed { index, ofThreads -> drawLine(canvas, plot, ofThreads, index) }
    }

    /** Milliseconds at the top: by p50, for p90 of a disturbed run would flatten all lines. */
    private fun highest() = rows.maxOf { it.statistics.p50Ms } * ROOM

    private fun drawAxes(canvas: Canvas, plot: Plot) {
        canvas.drawLine(plot.left, plot.bottom, plot.right, plot.bottom, axis)
        canvas.drawLine(plot.left, plot.top, plot.left, plot.bottom, axis)
        text.textAlign = Paint.Align.RIGHT
        for (part in 0..2) {
            val value = plot.milliseconds * part / 2
            canvas.drawText(MILLISECONDS.format(value), plot.left - text.textSize / 2, plot.y(value) + text.textSize / 3, text)
        }
        text.textAlign = Paint.Align.CENTER
        for (tokens in rows.map { it.tokens }.distinct()) {
            canvas.drawText(tokens.toString(), plot.x(tokens), plot.bottom + text.textSize * 1.5f, text)
        }
    }

    private fun drawLine(canvas: Canvas, plot: Plot, rows: List<LatencyRow>, index: Int) {
        line.color = colors[index % colors.size]
        rows.zipWithNext { a, b ->
            canvas.drawLine(plot.x(a.tokens), plot.y(a.statistics.p50Ms), plot.x(b.tokens), plot.y(b.statistics.p50Ms), line)
        }
        for (row in rows) {
            val (x, y) = plot.x(row.tokens) to plot.y(row.statistics.p50Ms)
            canvas.drawCircle(x, y, line.strokeWidth * 1.5f, line)
            line.strokeWidth /= 2
            canvas.drawLine(x, y, x, plot.y(minOf(row.statistics.p90Ms, plot.milliseconds)), line)
            line.strokeWidth *= 2
        }
        // The legend, above the plot: one after the other, in their colours.
        text.textAlign = Paint.Align.LEFT
        val label = resources.getQuantityString(R.plurals.threads, rows[0].threads, rows[0].threads)
        val color = text.color
        text.color = line.color
        canvas.drawText(label, plot.left + index * (plot.right - plot.left) / MOST_LINES, text.textSize, text)
        text.color = color
    }

    private class Plot(
        val left: Float,
        val top: Float,
        val right: Float,
        val bottom: Float,
        private val tokens: Int,
        val milliseconds: Double,
    ) {
        fun x(tokens: Int): Float = left + (right - left) * tokens / this.tokens

        fun y(milliseconds: Double): Float = bottom - ((bottom - top) * milliseconds / this.milliseconds).toFloat()
    }

    private fun dimension(name: Int) = resources.getDimension(name)

    private companion object {
        const val MILLISECONDS = "%.2f ms"
        const val MOST_LINES = 4
        const val ROOM = 1.25
    }
}
