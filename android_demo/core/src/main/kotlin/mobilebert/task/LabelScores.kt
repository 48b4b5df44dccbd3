package mobilebert.task

/**
 * How well a model finds a label.
 *
 * @property right texts that have the label and were given it.
 * @property wanted texts that have it.
 * @property given texts that were given it.
 */
data class LabelScore(val label: String, val right: Int, val wanted: Int, val given: Int) {
    val f1: Double get() = f1(right, wanted, given)
}

/**
 * How well a model agrees with people about texts.
 *
 * @property labels in the model's order, those that any text has or was given.
 */
class LabelScores(val labels: List<LabelScore>) {
    /** F1 of all labels together; where each text has and is given one label, that is the accuracy. */
    val microF1: Double = f1(labels.sumOf { it.right }, labels.sumOf { it.wanted }, labels.sumOf { it.given })

    companion object {
        /**
         * @param labels the model's.
         * @param wanted of each text the labels that it has.
         * @param given of each text the labels that the model gave it.
         */
        fun of(labels: List<String>, wanted: List<Set<String>>, given: List<Set<String>>): LabelScores {
            val texts = wanted.zip(given)
            val scores = labels.map { label ->
                LabelScore(
                    label,
                    right = texts.count { (has, got) -> label in has && label in got },
                    wanted = wanted.count { label in it },
                    given = given.count { label in it },
                )
            }
            return LabelScores(scores.filter { it.wanted + it.given > 0 })
        }
    }
}

private fun f1(right: Int, wanted: Int, given: Int): Double =
    if (wanted + given == 0) 0.0 else 2.0 * right / (wanted + given)
