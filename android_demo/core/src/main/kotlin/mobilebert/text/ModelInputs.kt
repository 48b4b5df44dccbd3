package mobilebert.text

/**
 * What a model reads: a sequence of T tokens, for its signature's inputs `ids`, `mask` and `segment_ids`, int32 [1,T].
 *
 * @property ids tokens [T].
 * @property mask 1 for a token, 0 for padding [T].
 * @property segmentIds 1 for the second text and its [SEP], else 0 [T].
 */
class ModelInputs(val ids: IntArray, val mask: IntArray, val segmentIds: IntArray) {
    init {
        require(ids.size == mask.size && ids.size == segmentIds.size) { "ids, mask and segmentIds differ in length" }
    }

    /** T. */
    val size: Int get() = ids.size

    /** The same sequence with padding behind it, [length]; itself if it is as long already. */
    fun padded(length: Int, padId: Int): ModelInputs {
        require(length >= size) { "$size tokens do not fit into $length" }
        if (length == size) return this
        val longer = ids.copyOf(length).also { it.fill(padId, size, length) }
        return ModelInputs(longer, mask.copyOf(length), segmentIds.copyOf(length))
    }
}
