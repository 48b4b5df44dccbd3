package mobilebert.task

/** A class and how likely it is. */
data class LabelProbability(val label: String, val probability: Float)

/**
 * What a classifier says of a text.
 *
 * @property probabilities every class in the model's order.
 * @property droppedTokens how many tokens did not fit and were not read.
 */
data class Classification(val probabilities: List<LabelProbability>, val droppedTokens: Int) {
    /** The likeliest class; the first of equals. */
    val best: LabelProbability get() = probabilities.maxBy { it.probability }
}

/**
 * A regression's value, or how good a choice the text is.
 *
 * @property droppedTokens as in [Classification].
 */
data class Score(val value: Float, val droppedTokens: Int)
