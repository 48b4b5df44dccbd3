package mobilebert.demo.accuracy

import mobilebert.TextModel
import mobilebert.demo.Ticket

/** How many of a class's texts the model found. */
data class ClassAccuracy(val label: String, val right: Int, val texts: Int)

/**
 * How often a model agrees with people.
 *
 * @property classes in the model's order, those that the table has.
 * @property cut texts that were too long for the model and were cut.
 * @property skipped rows of the table, see [LabelledTable].
 * @property millisecondsPerText tokenizer included.
 */
class Accuracy(val classes: List<ClassAccuracy>, val cut: Int, val skipped: Int, val millisecondsPerText: Double) {
    val right: Int = classes.sumOf { it.right }
    val texts: Int = classes.sumOf { it.texts }
    val fraction: Double = right.toDouble() / texts

    companion object {
        /** Classifies every text of a table. */
        fun measure(model: TextModel, table: LabelledTable, ticket: Ticket): Accuracy {
            val start = System.nanoTime()
            val results = table.rows.mapIndexed { index, row ->
                ticket.report(index, table.rows.size)
                model.classify(row.text, row.pair)
            }
            val seconds = (System.nanoTime() - start) / 1e9
            val scored = table.rows.zip(results)
            val classes = model.file.labels.mapNotNull { label ->
                val ofClass = scored.filter { (row, _) -> row.label == label }
                if (ofClass.isEmpty()) return@mapNotNull null
                ClassAccuracy(label, ofClass.count { (_, result) -> result.best.label == label }, ofClass.size)
            }
            val cut = results.count { it.droppedTokens > 0 }
            return Accuracy(classes, cut, table.skipped, seconds * 1e3 / results.size)
        }
    }
}
