package mobilebert.text

import mobilebert.InputException

/**
 * A text, or two, packed for a model: [CLS] text [SEP], or [CLS] text [SEP] pair [SEP].
 *
 * @property inputs what the model reads, without padding.
 * @property pieces the text's tokens that are in it; the first stands at position 1.
 * @property pairPieces the pair's; empty if there is none.
 * @property dropped how many tokens were cut off, of both.
 */
class Packed(val inputs: ModelInputs, val pieces: List<Piece>, val pairPieces: List<Piece>, val dropped: Int)

/**
 * Packs a text, or two, for a model.
 *
 * @param maxTokens T at most. Longer texts lose tokens from the end of the longer one ([Packed.dropped] says how many);
 *     null: any length.
 * @param specialTokens as in [WordPiece.tokenize].
 * @throws InputException if [maxTokens] leaves no room for [CLS] and [SEP].
 */
fun WordPiece.pack(text: String, pair: String? = null, maxTokens: Int? = null, specialTokens: Boolean = false): Packed {
    val first = tokenize(text, specialTokens)
    val second = if (pair == null) emptyList() else tokenize(pair, specialTokens)
    val specials = if (pair == null) 2 else 3
    if (maxTokens != null && maxTokens < specials) {
        throw InputException("$maxTokens tokens have no room for the special tokens: at least $specials")
    }
    val budget = if (maxTokens == null) Int.MAX_VALUE else maxTokens - specials
    val (a, b) = truncatedLengths(first.size, second.size, budget)
    val kept = first.subList(0, a)
    val keptPair = second.subList(0, b)
    val inputs = modelInputs(kept, if (pair == null) null else keptPair)
    return Packed(inputs, kept, keptPair, first.size + second.size - a - b)
}

/** [CLS] first [SEP], or [CLS] first [SEP] second [SEP]. */
internal fun WordPiece.modelInputs(first: List<Piece>, second: List<Piece>?): ModelInputs {
    val start = first.size + 2 // where the second text begins
    val ids = IntArray(start + if (second == null) 0 else second.size + 1)
    ids[0] = clsId
    first.forEachIndexed { i, piece -> ids[i + 1] = piece.id }
    ids[start - 1] = sepId
    second?.forEachIndexed { i, piece -> ids[start + i] = piece.id }
    ids[ids.size - 1] = sepId
    return ModelInputs(ids, IntArray(ids.size) { 1 }, IntArray(ids.size) { if (it < start) 0 else 1 })
}

/** Lengths left of two texts cut to [budget] tokens: always from the longer one, from the second where equal. */
internal fun truncatedLengths(a: Int, b: Int, budget: Int): Pair<Int, Int> {
    val keptA = minOf(a.toLong(), maxOf(budget.toLong() - b, (budget.toLong() + 1) / 2)).toInt()
    return Pair(keptA, minOf(b, budget - keptA))
}
