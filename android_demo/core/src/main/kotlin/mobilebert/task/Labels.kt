package mobilebert.task

import mobilebert.text.Piece
import mobilebert.text.WordPiece

/**
 * A word, or an entity of several, and what it is called.
 *
 * @property start and [end] its place in the text, in UTF-16 units.
 */
data class Stretch(val text: String, val start: Int, val end: Int, val label: String, val probability: Float)

/**
 * The label of each word (and of each punctuation mark) of a text.
 *
 * @property entities words labelled B-x, I-x ... joined and called x; none if the labels are of another kind.
 */
data class LabelledText(val words: List<Stretch>, val entities: List<Stretch>)

/**
 * Pieces joined to words; a word's label is that of its first piece, as in training.
 *
 * @param probabilities for each piece its classes [classes].
 * @param labels the names of the classes.
 */
fun labelledText(
    text: String,
    tokenizer: WordPiece,
    pieces: List<Piece>,
    probabilities: List<FloatArray>,
    labels: List<String>,
): LabelledText {
    val words = ArrayList<Stretch>()
    pieces.forEachIndexed { i, piece ->
        if (tokenizer.continuesWord(piece.id) && words.isNotEmpty()) {
            val word = words.removeAt(words.size - 1)
            words += word.copy(text = text.substring(word.start, piece.end), end = piece.end)
        } else {
            val best = probabilities[i].indices.maxBy { probabilities[i][it] }
            val part = text.substring(piece.start, piece.end)
            words += Stretch(part, piece.start, piece.end, labels[best], probabilities[i][best])
        }
    }
    return LabelledText(words, entities(text, words))
}

/** Words labelled B-x, I-x ... joined; each with the lowest probability of its words. */
private fun entities(text: String, words: List<Stretch>): List<Stretch> {
    val entities = ArrayList<Stretch>()
    var open: String? = null // what an I- would continue
    for (word in words) {
        val kind = word.label.substringAfter('-', missingDelimiterValue = "")
        val mark = word.label.substringBefore('-')
        if ('-' !in word.label || mark !in listOf("B", "I")) {
            open = null
            continue
        }
        entities += if (mark == "I" && kind == open) {
            val last = entities.removeAt(entities.size - 1)
            val probability = minOf(last.probability, word.probability)
            Stretch(text.substring(last.start, word.end), last.start, word.end, kind, probability)
        } else {
            Stretch(word.text, word.start, word.end, kind, word.probability)
        }
        open = kind
    }
    return entities
}
