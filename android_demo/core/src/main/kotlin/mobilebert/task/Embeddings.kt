package mobilebert.task

import kotlin.math.sqrt

/** Cosine of the angle between two vectors of one length, -1 to 1; 0 if one of them has no length. */
fun cosine(a: FloatArray, b: FloatArray): Float {
    require(a.size == b.size) { "vectors of ${a.size} and ${b.size} numbers cannot be compared" }
    val scale = sqrt(dot(a, a)) * sqrt(dot(b, b))
    return if (scale == 0.0) 0f else (dot(a, b) / scale).toFloat()
}

private fun dot(a: FloatArray, b: FloatArray): Double = a.indices.sumOf { a[it].toDouble() * b[it] }

/**
 * What a sentence encoder makes of a text.
 *
 * @property values [H].
 * @property droppedTokens as in [Classification].
 */
class Embedding(val values: FloatArray, val droppedTokens: Int)

/** A text of the list, and its cosine with what was searched for. */
data class Match(val index: Int, val text: String, val similarity: Float)

/**
 * Texts with their embeddings, searched by cosine.
 *
 * @param embeddings of the texts, [texts] of [H].
 */
class EmbeddingIndex(private val texts: List<String>, private val embeddings: List<FloatArray>) {
    init {
        require(texts.size == embeddings.size) { "${texts.size} texts but ${embeddings.size} embeddings" }
    }

    /** The most similar texts, best first; of equals the earlier one. */
    fun search(query: FloatArray, top: Int = 5): List<Match> =
        texts.indices.map { Match(it, texts[it], cosine(query, embeddings[it])) }
            .sortedByDescending { it.similarity }
            .take(top)
}
