package mobilebert.demo.accuracy

import mobilebert.TextModel
import mobilebert.demo.Ticket
import mobilebert.model.Head
import mobilebert.task.LabelScores

/**
 * How often a model agrees with people.
 *
 * @property scores of the labels that the table has or the model gave.
 * @property texts how many were scored.
 * @property longest tokens that were read of a text, at most.
 * @property cut texts that were longer.
 * @property skipped rows of the table, see [LabelledTable].
 * @property millisecondsPerText tokenizer included.
 */
class Accuracy(
    val scores: LabelScores,
    val texts: Int,
    val longest: Int,
    val cut: Int,
    val skipped: Int,
    val millisecondsPerText: Double,
) {
    /** What the model says of a row. */
    private class Given(val labels: Set<String>, val droppedTokens: Int)

    companion object {
        private const val USUAL_LENGTH = 128 // of a model that names none

        /** Classifies every text of a table, cut to as many tokens as `python -m mobilebert_tf.evaluate` reads. */
        fun measure(model: TextModel, table: LabelledTable, ticket: Ticket): Accuracy {
            val longest = minOf(model.file.sequenceLength ?: USUAL_LENGTH, model.file.maxTokens)
            val start = System.nanoTime()
            val given = table.rows.mapIndexed { index, row ->
                ticket.report(index, table.rows.size)
                classify(model, row, longest)
            }
            val seconds = (System.nanoTime() - start) / 1e9
            val scores = LabelScores.of(model.file.labels, table.rows.map { it.labels }, given.map { it.labels })
            val cut = given.count { it.droppedTokens > 0 }
            return Accuracy(scores, given.size, longest, cut, table.skipped, seconds * 1e3 / given.size)
        }

        private fun classify(model: TextModel, row: Labelled, longest: Int): Given =
            if (model.file.head == Head.MULTI_LABEL_CLASSIFIER) {
                val found = model.classifyMultiLabel(row.text, row.pair, longest)
                Given(found.chosen.map { it.label }.toSet(), found.droppedTokens)
            } else {
                val found = model.classify(row.text, row.pair, longest)
                Given(setOf(found.best.label), found.droppedTokens)
            }
    }
}
