package mobilebert.text

/**
 * For each of BERT's parts of a text, whether it continues the word of the part before it.
 *
 * Words are what the training data took for words, as its joiners tell: "x-x" (e-mail), "x.x." (U.S.). The definition,
 * and how a joiner is written, is in mobilebert_tf/text/words.py.
 *
 * @param parts start and end of each part: a run of letters and digits, or a mark or Chinese character.
 * @param joiners none if each part is a word.
 */
internal fun continuedWords(text: String, parts: List<Pair<Int, Int>>, joiners: List<String>): List<Boolean> {
    val known = joiners.associateBy { it.replace(" ", "") }
    val shapes = parts.map { (start, end) -> shape(text, start, end) }
    var marks = emptySet<String>() // of the word so far
    var takesNext = false // whether the mark before and this part are one word
    return shapes.mapIndexed { i, (mark) ->
        val before = if (isTouching(text, parts, i)) shapes[i - 1] else NOTHING
        val after = if (isTouching(text, parts, i + 1)) shapes[i + 1] else NOTHING
        var isJoined = takesNext && mark.isEmpty()
        takesNext = false
        if (mark.isNotEmpty()) {
            val joiner = known[example(before.last, mark, after.first, mark in marks)]
            isJoined = when {
                before.mark.isNotEmpty() -> before.mark + mark in known
                else -> joiner != null && before.last.isNotEmpty() && joiner[1] != ' '
            }
            takesNext = joiner != null && after.first.isNotEmpty() && joiner[joiner.length - 2] != ' '
        }
        marks = (if (isJoined) marks else emptySet()) + mark
        isJoined
    }
}

/** What the parts beside a part see of it: its mark, or a digit ("0") or another character ("x"). */
private data class Shape(val mark: String = "", val first: String = "", val last: String = "")

private val NOTHING = Shape()

private const val APOSTROPHE = 0x2019 // the same mark as '

private fun shape(text: String, start: Int, end: Int): Shape {
    val first = text.codePointAt(start)
    return when {
        first == APOSTROPHE -> Shape("'")
        Unicodes.isSeparate(first) -> Shape(String(Character.toChars(first)))
        else -> Shape(first = letter(first), last = letter(text.codePointBefore(end)))
    }
}

private fun letter(character: Int): String = if (Character.isDigit(character)) "0" else "x"

/** Whether no blank stands before a part and behind the one before it. */
private fun isTouching(text: String, parts: List<Pair<Int, Int>>, index: Int): Boolean =
    index in 1 until parts.size &&
        (parts[index - 1].second until parts[index].first).none { Unicodes.isBlank(text[it].code) }

/** A joiner without its blanks. */
private fun example(left: String, mark: String, right: String, isRepeated: Boolean): String {
    if (left.isNotEmpty() && right.isNotEmpty()) {
        val side = if (left + right == "00") "0" else "x"
        return side + mark + side
    }
    val begin = if (isRepeated && left.isNotEmpty()) left + mark else ""
    return begin + left + mark + right
}
