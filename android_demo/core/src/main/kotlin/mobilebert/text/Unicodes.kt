package mobilebert.text

/**
 * What BERT does with each character (code point), from [UnicodeTables].
 *
 * Not from the platform: each Android version knows another version of Unicode, and an old one would take a new emoji
 * for no character at all, so the same text would have other tokens than in training. (java.text.Normalizer is the
 * platform's; Unicode never changes the decomposition of a character that it has.)
 */
internal object Unicodes {
    private val runStarts: IntArray
    private val runKinds: CharArray
    private val ascii: CharArray
    private val lower: Map<Int, Int>

    init {
        val runs = Regex("([A-Z])([0-9a-z]+)").findAll(UnicodeTables.KINDS).toList()
        runKinds = CharArray(runs.size) { runs[it].groupValues[1][0] }
        runStarts = IntArray(runs.size)
        for (i in 1 until runs.size) runStarts[i] = runStarts[i - 1] + runs[i - 1].groupValues[2].toInt(BASE)
        ascii = CharArray(0x80) { search(it) }
        lower = HashMap()
        for (run in UnicodeTables.LOWER_CASE.split(' ')) {
            val (first, count, step, difference) = run.split(',').map { it.toInt(BASE) }
            for (i in 0 until count) lower[first + i * step] = first + i * step + difference
        }
    }

    /** Control, format, private and unassigned characters, halves of surrogate pairs, and U+FFFD. */
    fun isRemoved(character: Int): Boolean = kind(character) == 'R'

    /** What separates words. */
    fun isBlank(character: Int): Boolean = kind(character) == 'B'

    /** A word of its own: punctuation, the symbols of ASCII, Chinese characters. */
    fun isSeparate(character: Int): Boolean = kind(character) == 'S'

    /** A mark without width (Mn), which is stripped from lower-cased text. */
    fun isAccent(character: Int): Boolean = kind(character) == 'A'

    /** Any mark: it belongs to the character before. */
    fun isMark(character: Int): Boolean = kind(character).let { it == 'A' || it == 'M' }

    fun lowerCase(character: Int): Int = when (character) {
        in 'A'.code..'Z'.code -> character + 0x20
        in 0..0x7F -> character
        else -> lower[character] ?: character
    }

    private fun kind(character: Int): Char = if (character < 0x80) ascii[character] else search(character)

    private fun search(character: Int): Char {
        val found = runStarts.binarySearch(character)
        return runKinds[if (found >= 0) found else -found - 2]
    }

    private const val BASE = 36
}
