package mobilebert.task

import mobilebert.text.Piece
import mobilebert.text.WordPiece
import mobilebert.text.continuedWords

/**
 * A word, or an entity of several, and what it is called.
 *
 * @property start and [end] its place in the text, in UTF-16 units.
 */
data class Stretch(val text: String, val start: Int, val end: Int, val label: String, val probability: Float)

/**
 * The label of each word of a text; a mark that stands in no word of the training data is a word too.
 *
 * @property entities of one or more words, as the [TagScheme] of the labels says; none if they mark no entities.
 */
data class LabelledText(val words: List<Stretch>, val entities: List<Stretch>)

/**
 * Pieces joined to words as in training; a word's label is that of its first piece.
 *
 * @param probabilities for each piece its classes [classes].
 * @param labels the names of the classes.
 * @param joiners of the training words, as in [mobilebert.model.ModelFile].
 */
fun labelledText(
    text: String,
    tokenizer: WordPiece,
    pieces: List<Piece>,
    probabilities: List<FloatArray>,
    labels: List<String>,
    joiners: List<String> = emptyList(),
): LabelledText {
    val labelled = pieces.mapIndexed { i, piece ->
        val best = probabilities[i].indices.maxBy { probabilities[i][it] }
        val part = text.substring(piece.start, piece.end)
        Stretch(part, piece.start, piece.end, labels[best], probabilities[i][best])
    }
    val parts = joined(text, labelled, pieces.map { tokenizer.continuesWord(it.id) })
    val words = joined(text, parts, continuedWords(text, parts.map { it.start to it.end }, joiners))
    return LabelledText(words, entities(text, words, TagScheme.of(labels).tags(words.map { it.label })))
}

/** Each up to the end of those behind it that continue it. */
private fun joined(text: String, stretches: List<Stretch>, areContinued: List<Boolean>): List<Stretch> {
    val joined = ArrayList<Stretch>()
    for ((stretch, isContinued) in stretches.zip(areContinued)) {
        if (isContinued && joined.isNotEmpty()) {
            val first = joined.removeAt(joined.size - 1)
            joined += first.copy(text = text.substring(first.start, stretch.end), end = stretch.end)
        } else {
            joined += stretch
        }
    }
    return joined
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
