package mobilebert.demo.task

/** A part of a text, [start] until [end], that is shown in the colour of its [kind], counted from 0. */
data class Mark(val start: Int, val end: Int, val kind: Int)

/**
 * A line of a result.
 *
 * @property fraction how long its bar is, 0 to 1; null for no bar.
 * @property kind the colour of its marks in the text; null if it has none.
 */
data class Row(val label: String, val value: String, val fraction: Float? = null, val kind: Int? = null)

/**
 * What is shown of a result, whatever the model's head.
 *
 * @property text with [marks] in it; null if there is none to show.
 * @property notes what the user should know, such as that the text was cut.
 */
data class Outcome(
    val rows: List<Row>,
    val text: String? = null,
    val marks: List<Mark> = emptyList(),
    val notes: List<String> = emptyList(),
)
