package mobilebert.demo.task

import mobilebert.TextModel
import mobilebert.demo.R
import mobilebert.demo.Ticket
import mobilebert.task.Stretch
import mobilebert.task.TagScheme

/** Labels of a text's words, in colour: entities where the labels are of that kind, else every word's. */
class LabelWords(private val model: TextModel) : TextTask {
    override val title = R.string.label_words
    override val first = Field(R.string.text, R.string.example_entities)
    override val second = null

    private val scheme = TagScheme.of(model.file.labels)

    /** Kinds of entities, or labels themselves, in the model's order: each has its colour. */
    private val kinds = if (scheme.hasEntities) scheme.kinds else model.file.labels - TagScheme.OUTSIDE

    override fun run(first: String, second: String, option: Boolean, ticket: Ticket): Outcome {
        val labelled = model.labelWords(first, ticket::report)
        val shown = if (scheme.hasEntities) labelled.entities else labelled.words.filter { it.label != TagScheme.OUTSIDE }
        return Outcome(shown.map(::row), first, shown.map { Mark(it.start, it.end, kind(it)) })
    }

    private fun row(stretch: Stretch) =
        Row("${stretch.text}: ${stretch.label}", percent(stretch.probability), stretch.probability, kind(stretch))

    private fun kind(stretch: Stretch) = kinds.indexOf(stretch.label)
}
