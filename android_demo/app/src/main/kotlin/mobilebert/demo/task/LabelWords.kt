package mobilebert.demo.task

import mobilebert.TextModel
import mobilebert.demo.R
import mobilebert.demo.Ticket
import mobilebert.task.Stretch

/** Labels of a text's words, in colour: entities where the labels are of that kind, else every word's. */
class LabelWords(private val model: TextModel) : TextTask {
    override val title = R.string.label_words
    override val first = Field(R.string.text, R.string.example_entities)
    override val second = null

    /** Names of entities, or labels themselves, in the model's order: each has its colour. */
    private val kinds = model.file.labels.map { it.substringAfter('-') }.filter { it != OUTSIDE }.distinct()
    private val hasEntities = model.file.labels.any { it.startsWith("B-") || it.startsWith("I-") }

    override fun run(first: String, second: String, option: Boolean, ticket: Ticket): Outcome {
        val labelled = model.labelWords(first, ticket::report)
        val shown = if (hasEntities) labelled.entities else labelled.words.filter { it.label != OUTSIDE }
        return Outcome(shown.map(::row), first, shown.map { Mark(it.start, it.end, kind(it)) })
    }

    private fun row(stretch: Stretch) =
        Row("${stretch.text}: ${stretch.label}", percent(stretch.probability), stretch.probability, kind(stretch))

    private fun kind(stretch: Stretch) = kinds.indexOf(stretch.label.substringAfter('-')).coerceAtLeast(0)

    private companion object {
        const val OUTSIDE = "O"
    }
}
