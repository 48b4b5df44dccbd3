package mobilebert.demo.task

import android.content.res.ColorStateList
import android.text.SpannableString
import android.text.Spanned
import android.text.style.BackgroundColorSpan
import android.view.LayoutInflater
import android.view.View
import android.view.ViewGroup
import android.widget.ProgressBar
import android.widget.TextView
import mobilebert.demo.R
import kotlin.math.roundToInt

/** Shows results in [parent], which it fills. */
class OutcomeView(private val parent: ViewGroup) {
    private val inflater = LayoutInflater.from(parent.context)
    private val colors = parent.resources.getIntArray(R.array.marks)

    /** Shows a result; null for none. */
    fun show(outcome: Outcome?) {
        parent.removeAllViews()
        if (outcome == null) return
        outcome.notes.forEach { add(R.layout.note).findViewById<TextView>(R.id.note).text = it }
        outcome.text?.let { add(R.layout.marked).findViewById<TextView>(R.id.marked).text = marked(it, outcome.marks) }
        outcome.rows.forEach { showRow(add(R.layout.row), it) }
        if (outcome.rows.isEmpty()) add(R.layout.note).findViewById<TextView>(R.id.note).setText(R.string.nothing_found)
    }

    private fun add(layout: Int): View = inflater.inflate(layout, parent, false).also(parent::addView)

    private fun marked(text: String, marks: List<Mark>) = SpannableString(text).apply {
        for (mark in marks) {
            setSpan(BackgroundColorSpan(color(mark.kind)), mark.start, mark.end, Spanned.SPAN_EXCLUSIVE_EXCLUSIVE)
        }
    }

    private fun showRow(view: View, row: Row) {
        val label = view.findViewById<TextView>(R.id.label)
        label.text = row.label
        if (row.kind != null) label.setBackgroundColor(color(row.kind))
        view.findViewById<TextView>(R.id.value).text = row.value
        val bar = view.findViewById<ProgressBar>(R.id.bar)
        bar.visibility = if (row.fraction == null) View.GONE else View.VISIBLE
        bar.progress = ((row.fraction ?: 0f) * bar.max).roundToInt()
        if (row.kind != null) bar.progressTintList = ColorStateList.valueOf(color(row.kind))
        view.contentDescription = view.resources.getString(R.string.row, row.label, row.value) // read as one, without the bar
    }

    private fun color(kind: Int) = colors[kind % colors.size]
}
