package mobilebert.model

/**
 * What a model ends in, and so what it says of a text.
 *
 * @property key its name in the file.
 * @property outputs the signature's outputs. Those by token have an entry for each token in their second dimension.
 */
enum class Head(val key: String, val outputs: List<String>, val byToken: Boolean) {
    /** `probability` [1,classes]. */
    CLASSIFIER("classifier", listOf("probability"), byToken = false),

    /** `probability` [1,labels], each from 0 to 1 by itself: a text has any number of them. */
    MULTI_LABEL_CLASSIFIER("multi_label_classifier", listOf("probability"), byToken = false),

    /** `probability` [1,2]: whether the second text follows the first. */
    NEXT_SENTENCE("next_sentence", listOf("probability"), byToken = false),

    /** `score` [1,1]. */
    REGRESSION("regression", listOf("score"), byToken = false),

    /** `score` [1,1] of one choice. */
    MULTIPLE_CHOICE("multiple_choice", listOf("score"), byToken = false),

    /** `token_probability` [1,T,classes]. */
    TOKEN_CLASSIFIER("token_classifier", listOf("token_probability"), byToken = true),

    /** `start_logits` and `end_logits` [1,T]. */
    SPAN("span", listOf("start_logits", "end_logits"), byToken = true),

    /** `mlm_logits` [1,T,vocabulary]. */
    MASKED_LM("masked_lm", listOf("mlm_logits"), byToken = true),

    /** As [MASKED_LM]. */
    PRETRAINING("pretraining", listOf("mlm_logits"), byToken = true),

    /** `embedding` [1,H]. */
    ENCODER("encoder", listOf("embedding"), byToken = false),
    ;

    companion object {
        fun ofKey(key: String): Head? = entries.find { it.key == key }
    }
}
