package mobilebert.task

import mobilebert.InputException
import mobilebert.text.Window

/**
 * A part of the document that may answer the question, `document.substring(start, end)`; both 0 for "no answer".
 *
 * @property score sum of its start and end logit.
 * @property probability among the candidates of the same list.
 */
data class AnswerCandidate(val text: String, val start: Int, val end: Int, val score: Double, val probability: Double)

/**
 * What a model answers; text "" for "no answer".
 *
 * @property start and [end], [probability] as in [AnswerCandidate].
 * @property nullScoreDifference score of "no answer" minus that of the best span, infinite if there is no span; null if
 *     the document is taken to hold an answer.
 * @property candidates best first.
 * @property droppedTokens how many of the question did not fit and were not read.
 */
data class Answer(
    val text: String,
    val start: Int,
    val end: Int,
    val probability: Double,
    val nullScoreDifference: Double?,
    val candidates: List<AnswerCandidate>,
    val droppedTokens: Int = 0,
)

/**
 * The best spans of a document's windows, as mobilebert_tf.data.answers finds them.
 *
 * run_squad.py combines the 20 best starts with the 20 best ends; here all pairs compete.
 *
 * @param startLogits and [endLogits] for each window its logits, one a token of its inputs (padding behind is allowed).
 * @param best candidates to list, of different texts.
 * @param longestAnswer in tokens.
 * @param nullThreshold "no answer" wins if its score is more than this above the best span's (SQuAD 2.0); its score is
 *     that of [CLS], the lowest of all windows. null: there is an answer.
 * @throws InputException for logits that are not finite.
 */
fun answer(
    document: String,
    windows: List<Window>,
    startLogits: List<FloatArray>,
    endLogits: List<FloatArray>,
    best: Int = 5,
    longestAnswer: Int = 30,
    nullThreshold: Double? = null,
): Answer {
    require(best >= 1 && longestAnswer >= 1) { "best and longestAnswer must be at least 1" }
    require(startLogits.size == windows.size && endLogits.size == windows.size) { "logits of each window are needed" }
    val finite = (startLogits + endLogits).all { logits -> logits.all(Float::isFinite) }
    if (!finite) throw InputException("the model's logits are not finite")
    val spans = bestSpans(document, windows, startLogits, endLogits, best, longestAnswer)
    if (nullThreshold == null) return chosen(spans, difference = null, declined = spans.isEmpty())
    val nullScore = windows.indices.minOfOrNull { startLogits[it][0].toDouble() + endLogits[it][0] } ?: 0.0
    val nothing = AnswerCandidate("", 0, 0, nullScore, 0.0)
    val difference = if (spans.isEmpty()) Double.POSITIVE_INFINITY else nullScore - spans[0].score
    val listed = (spans + nothing).sortedByDescending { it.score }.take(best).toMutableList()
    for (span in spans.take(1) + nothing) if (span !in listed) listed += span
    return chosen(listed, difference, declined = spans.isEmpty() || difference > nullThreshold)
}

private fun chosen(listed: List<AnswerCandidate>, difference: Double?, declined: Boolean): Answer {
    val probabilities = softmax(DoubleArray(listed.size) { listed[it].score })
    val candidates = listed.mapIndexed { i, candidate -> candidate.copy(probability = probabilities[i]) }
    val chosen = candidates.find { it.text.isEmpty() == declined } ?: AnswerCandidate("", 0, 0, 0.0, 0.0)
    return Answer(chosen.text, chosen.start, chosen.end, chosen.probability, difference, candidates)
}

private class Span(val window: Window, val first: Int, val last: Int, val score: Double)

private const val SPANS_PER_TEXT = 5 // more than one span can have the same text

/** The best spans of different texts, best first; of equal scores the earlier one. Without their probability. */
private fun bestSpans(
    document: String,
    windows: List<Window>,
    startLogits: List<FloatArray>,
    endLogits: List<FloatArray>,
    best: Int,
    longest: Int,
): List<AnswerCandidate> {
    var spans = emptyList<Span>()
    windows.forEachIndexed { index, window ->
        val found = windowSpans(window, startLogits[index], endLogits[index], longest)
        spans = (spans + found).sortedByDescending { it.score }.take(best * SPANS_PER_TEXT)
    }
    val texts = LinkedHashMap<String, AnswerCandidate>()
    for (span in spans) {
        val start = span.window.pieces[span.first].start
        val end = span.window.pieces[span.last].end
        val text = document.substring(start, end)
        if (text !in texts) texts[text] = AnswerCandidate(text, start, end, span.score, 0.0)
        if (texts.size == best) break
    }
    return texts.values.toList()
}

/** All spans that start where the window has the most text around. */
private fun windowSpans(window: Window, startLogits: FloatArray, endLogits: FloatArray, longest: Int): List<Span> =
    window.pieces.indices.filter { window.owned[it] }.flatMap { first ->
        val start = startLogits[window.offset + first].toDouble()
        (first until minOf(first + longest, window.pieces.size)).map { last ->
            Span(window, first, last, start + endLogits[window.offset + last])
        }
    }
