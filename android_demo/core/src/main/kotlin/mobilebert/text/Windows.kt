package mobilebert.text

import mobilebert.InputException

/**
 * A part of a document as a model reads it.
 *
 * @property inputs [CLS] part [SEP], or [CLS] question [SEP] part [SEP]; without padding.
 * @property pieces the part's tokens.
 * @property offset position in [inputs] of the first of them.
 * @property first which of the document's tokens that is.
 * @property owned for each of [pieces] whether, of all windows that hold it, this one has the most text on both its
 *     sides. Every token of the document is owned by one window.
 */
class Window(
    val inputs: ModelInputs,
    val pieces: List<Piece>,
    val offset: Int,
    val first: Int,
    val owned: BooleanArray,
)

/**
 * Windows over a document of any length.
 *
 * @property length tokens of a window at most, special tokens included.
 * @property stride tokens from the start of a window to that of the next; as Google's 128 is to 384.
 * @property longestQuestion tokens of the question at most, as Google's 64 is to 384; the rest of it is dropped.
 * @throws InputException if that leaves no room for the document.
 */
data class WindowSizes(
    val length: Int,
    val stride: Int = maxOf(1, length / 3),
    val longestQuestion: Int = maxOf(1, length / 6),
) {
    init {
        if (length <= longestQuestion + 3) {
            throw InputException(
                "$length tokens have no room for the text: it must be more than the longest question " +
                    "($longestQuestion tokens) and 3 special tokens",
            )
        }
        if (stride < 1 || longestQuestion < 1) throw InputException("stride and longest question must be at least 1")
    }
}

/**
 * The windows of a document, with the question in front of each, as run_squad.py of google-research/bert makes them.
 *
 * @param question null: none, the windows are [CLS] part [SEP].
 * @return none if the document has no token.
 */
fun WordPiece.windows(document: String, question: String?, sizes: WindowSizes): List<Window> {
    val asked = question?.let { tokenize(it).take(sizes.longestQuestion) }
    val pieces = tokenize(document)
    val room = sizes.length - if (asked == null) 2 else asked.size + 3
    val ranges = windowRanges(pieces.size, room, sizes.stride)
    val owners = owners(ranges, pieces.size)
    return ranges.mapIndexed { index, range ->
        val part = pieces.subList(range.first, range.last + 1)
        val inputs = if (asked == null) modelInputs(part, null) else modelInputs(asked, part)
        val offset = if (asked == null) 1 else asked.size + 2
        Window(inputs, part, offset, range.first, BooleanArray(part.size) { owners[range.first + it] == index })
    }
}

/** How many tokens of a question [windows] drops. */
fun WordPiece.droppedTokens(question: String, sizes: WindowSizes): Int =
    maxOf(0, tokenize(question).size - sizes.longestQuestion)

/** The tokens of each window over a document of [tokens]. */
internal fun windowRanges(tokens: Int, room: Int, stride: Int): List<IntRange> {
    if (tokens == 0) return emptyList()
    val ranges = mutableListOf(0 until minOf(room, tokens))
    while (ranges.last().last + 1 < tokens) {
        val start = ranges.last().first + minOf(room, stride)
        ranges += start until minOf(start + room, tokens)
    }
    return ranges
}

/**
 * Which window has the most context around each token [tokens].
 *
 * The smaller of both sides counts, and a hundredth of the window's length; if equal, the earlier window.
 */
private fun owners(ranges: List<IntRange>, tokens: Int): IntArray {
    val owners = IntArray(tokens)
    val best = DoubleArray(tokens) { Double.NEGATIVE_INFINITY }
    ranges.forEachIndexed { index, range ->
        val bonus = 0.01 * (range.last + 1 - range.first)
        for (token in range) {
            val score = minOf(token - range.first, range.last - token) + bonus
            if (score > best[token]) {
                best[token] = score
                owners[token] = index
            }
        }
    }
    return owners
}
