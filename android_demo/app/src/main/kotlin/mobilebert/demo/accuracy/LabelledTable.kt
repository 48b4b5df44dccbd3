package mobilebert.demo.accuracy

import mobilebert.InputException

/** A row of a table: a text, or two, and its labels: its class, or any number of them. */
data class Labelled(val text: String, val pair: String?, val labels: Set<String>)

/**
 * Texts with the labels that people gave them.
 *
 * @property skipped rows with too few or too many fields, or an empty one.
 */
class LabelledTable(val rows: List<Labelled>, val skipped: Int) {
    companion object {
        private val TEXT = listOf("text", "sentence", "sentence1", "question")
        private val PAIR = listOf("pair", "sentence", "sentence2") // QNLI has a question and a sentence
        private const val LABEL = "label"
        private const val SEPARATOR = '|' // of several labels

        /**
         * Reads a .tsv as `python -m mobilebert_tf.evaluate` does one without quotes: its first line names the columns.
         *
         * The columns are text (or sentence, sentence1, question), label, and for two texts pair (or sentence2, or behind a
         * question sentence), as in GLUE's SST-2, QNLI, RTE and WNLI. Labels are names
         * or, as in GLUE's files, their numbers, if no name is a number itself.
         *
         * @param labels the model's.
         * @param severalLabels whether a text has any number of labels, with | between; an empty field for none.
         * @throws InputException for a table without these columns or rows, or with a label that the model does not have.
         */
        fun read(content: String, labels: List<String>, severalLabels: Boolean = false): LabelledTable {
            val lines = content.removePrefix("\uFEFF").lines()
            val header = lines.first().split('\t').map { it.trim() }
            val text = header.indexOfFirst { it in TEXT }
            val pair = header.withIndex().indexOfFirst { (place, name) -> name in PAIR && place != text }
            val label = header.indexOf(LABEL)
            if (text < 0 || label < 0) {
                throw InputException("line 1 must name the columns text and label, with a tab between: it is ${header.take(5)}")
            }
            val needed = listOfNotNull(text, pair, label.takeIf { !severalLabels }).filter { it >= 0 }
            val numbered = if (labels.any { it.toIntOrNull() != null }) emptyList() else labels
            val rows = ArrayList<Labelled>()
            var skipped = 0
            lines.drop(1).forEachIndexed { index, line ->
                if (line.isBlank()) return@forEachIndexed
                val fields = line.split('\t').map { it.trim() }
                if (fields.size != header.size || needed.any { fields[it].isEmpty() }) {
                    skipped++
                } else {
                    val given = if (severalLabels) several(fields[label]) else listOf(fields[label])
                    val known = given.map { named(it, labels, numbered, line = index + 2) }
                    rows += Labelled(fields[text], fields.getOrNull(pair), known.toSet())
                }
            }
            if (rows.isEmpty()) throw InputException("the table has no rows with a text and a label")
            return LabelledTable(rows, skipped)
        }

        private fun several(field: String): List<String> =
            if (field.isEmpty()) emptyList() else field.split(SEPARATOR).map { it.trim() }

        private fun named(label: String, labels: List<String>, numbered: List<String>, line: Int): String =
            label.takeIf { it in labels }
                ?: label.toIntOrNull()?.let(numbered::getOrNull)
                ?: throw InputException("line $line: the model has no label $label, it has ${labels.joinToString()}")
    }
}
