package mobilebert.demo.task

import android.content.res.Resources
import mobilebert.InputException
import mobilebert.TextModel
import mobilebert.demo.R
import mobilebert.demo.Ticket
import mobilebert.task.LabelProbability

/** The classes of a text, or of two, likeliest first. */
class Classify(private val model: TextModel, private val resources: Resources) : TextTask {
    override val title = R.string.classify
    override val first = Field(R.string.text, R.string.example_review)
    override val second = secondText(model)

    override fun run(first: String, second: String, option: Boolean, ticket: Ticket): Outcome {
        val classes = model.classify(resources.written(first), second.ifBlank { null })
        val rows = classes.probabilities.sortedByDescending { it.probability }
            .map { Row(it.label, percent(it.probability), it.probability) }
        return Outcome(rows, notes = resources.cut(classes.droppedTokens))
    }
}

/** The labels that a text has, or two: those that reach their thresholds are coloured, and named. */
class ClassifyMultiLabel(private val model: TextModel, private val resources: Resources) : TextTask {
    override val title = R.string.classify
    override val first = Field(R.string.text, R.string.example_labels)
    override val second = secondText(model)

    override fun run(first: String, second: String, option: Boolean, ticket: Ticket): Outcome {
        val found = model.classifyMultiLabel(resources.written(first), second.ifBlank { null })
        val names = found.chosen.joinToString { it.label }
        val labels = if (names.isEmpty()) resources.getString(R.string.no_label) else resources.getString(R.string.labels_of_text, names)
        val rows = found.probabilities.zip(model.file.thresholds).sortedByDescending { (label, _) -> label.probability }
            .map { (label, threshold) -> row(label, threshold, label in found.chosen) }
        return Outcome(rows, notes = listOf(labels) + resources.cut(found.droppedTokens))
    }

    private fun row(label: LabelProbability, threshold: Double, chosen: Boolean): Row {
        val name = resources.getString(R.string.label_from, label.label, percent(threshold))
        return Row(name, percent(label.probability), label.probability, kind = if (chosen) 0 else null)
    }
}

/** The number that a regression gives a text, or two. */
class Rate(private val model: TextModel, private val resources: Resources) : TextTask {
    override val title = R.string.rate
    override val first = Field(R.string.text, R.string.example_review)
    override val second = secondText(model)

    override fun run(first: String, second: String, option: Boolean, ticket: Ticket): Outcome {
        val score = model.score(resources.written(first), second.ifBlank { null })
        return Outcome(listOf(Row(resources.getString(R.string.score), decimal(score.value))), notes = resources.cut(score.droppedTokens))
    }
}

/** The field of a second text: none if the file says that the model was trained on single ones. */
private fun secondText(model: TextModel): Field? = when (model.file.pairs) {
    true -> Field(R.string.second_text, R.string.empty)
    false -> null
    null -> Field(R.string.second_text_perhaps, R.string.empty)
}

/** The [note] if the text was too long for the model. */
internal fun Resources.cut(tokens: Int, note: Int = R.plurals.cut): List<String> =
    if (tokens == 0) emptyList() else listOf(getQuantityString(note, tokens, tokens))

/** The text, if there is one. */
internal fun Resources.written(text: String): String =
    text.ifBlank { throw InputException(getString(R.string.error_empty)) }
