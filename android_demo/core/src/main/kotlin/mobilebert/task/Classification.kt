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
 * The labels that a text has: any number of them, or none.
 *
 * @property probabilities every label in the model's order, each with a probability of its own.
 * @property chosen the labels that the text has, the likeliest first.
 * @property droppedTokens as in [Classification].
 */
data class MultiLabelClassification(
    val probabilities: List<LabelProbability>,
    val chosen: List<LabelProbability>,
    val droppedTokens: Int,
)

/**
 * The labels that a text has, the likeliest first; of equals the first.
 *
 * @param thresholds for each label the probability from which on a text has it.
 */
fun chosen(probabilities: List<LabelProbability>, thresholds: List<Double>): List<LabelProbability> =
    probabilities.filterIndexed { i, it -> it.probability >= thresholds[i] }.sortedByDescending { it.probability }

/**
 * A regression's value, or how good a choice the text is.
 *
 * @property droppedTokens as in [Classification].
 */
data class Score(val value: Float, val droppedTokens: Int)
