package mobilebert.model

/**
 * What a model ends in, and so what it says of a text.
 *
 * @property key its name in the file.
 * @property outputs the signature's outputs.
 */
enum class Head(val key: String, val outputs: List<String>) {
    /** `probability` [1,classes]. */
    CLASSIFIER("classifier", listOf("probability")),

    /** `probability` [1,labels], each from 0 to 1 by itself: a text has any number of them. */
    MULTI_LABEL_CLASSIFIER("multi_label_classifier", listOf("probability")),

    /** `probability` [1,2]: whether the second text follows the first. */
    NEXT_SENTENCE("next_sentence", listOf("probability")),

    /** `score` [1,1]. */
    REGRESSION("regression", listOf("score")),

    /** `score` [1,1] of one choice. */
    MULTIPLE_CHOICE("multiple_choice", listOf("score")),

    /** `token_probability` [1,T,classes]. */
    TOKEN_CLASSIFIER("token_classifier", listOf("token_probability")),

    /** `start_logits` and `end_logits` [1,T]. */
    SPAN("span", listOf("start_logits", "end_logits")),

    /** `mlm_logits` [1,T,vocabulary]. */
    MASKED_LM("masked_lm", listOf("mlm_logits")),

    /** As [MASKED_LM]. */
    PRETRAINING("pretraining", listOf("mlm_logits")),

    /** `embedding` [1,H]. */
    ENCODER("encoder", listOf("embedding")),
    ;

    companion object {
        fun ofKey(key: String): Head? = entries.find { it.key == key }
    }
}
