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
 * @property entities of one or more words, as the [TagScheme] of the labels says; none if they mark no entities.
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
    return LabelledText(words, entities(text, words, TagScheme.of(labels).tags(words.map { it.label })))
}

/** Words of one entity joined; each with the lowest probability of its words. */
private fun entities(text: String, words: List<Stretch>, tags: List<Tag?>): List<Stretch> {
    val entities = ArrayList<Stretch>()
    for ((word, tag) in words.zip(tags)) {
        if (tag == null) continue
        entities += if (tag.begins) {
            word.copy(label = tag.kind)
        } else {
            val last = entities.removeAt(entities.size - 1)
            val probability = minOf(last.probability, word.probability)
            Stretch(text.substring(last.start, word.end), last.start, word.end, tag.kind, probability)
        }
    }
    return entities
}
