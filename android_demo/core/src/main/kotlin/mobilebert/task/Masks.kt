package mobilebert.task

/** A token for a [MASK]. */
data class TokenProbability(val token: String, val probability: Float)

/**
 * A [MASK] of the text, `text.substring(start, end)`, and what may stand there.
 *
 * @property candidates best first.
 */
data class FilledMask(val start: Int, val end: Int, val candidates: List<TokenProbability>)

/**
 * The likeliest tokens, best first; of equals the first in the vocabulary.
 *
 * @param logits of one token [vocabulary].
 */
fun likeliestTokens(logits: FloatArray, vocabulary: List<String>, top: Int): List<TokenProbability> {
    require(top >= 1) { "top must be at least 1" }
    val probabilities = softmax(logits)
    val order = probabilities.indices.sortedByDescending { probabilities[it] }
    return order.take(top).map { TokenProbability(vocabulary[it], probabilities[it]) }
}
