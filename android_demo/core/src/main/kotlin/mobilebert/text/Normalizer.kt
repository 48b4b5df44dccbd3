package mobilebert.text

import java.text.Normalizer as Unicode

/**
 * A normalised word.
 *
 * @property text what WordPiece looks up, in UTF-16 units [N].
 * @property starts and [ends] for each unit of [text] the place in the given text of what it comes from [N].
 * @property special whether it is a special token, not a word.
 */
internal class Word(val text: String, val starts: IntArray, val ends: IntArray, val special: Boolean = false) {
    /** Code points. */
    val characters: Int get() = text.codePointCount(0, text.length)
}

/**
 * BERT's normalisation and splitting into words (BasicTokenizer), with the place of every character.
 *
 * The text is cut into clusters, a character with the marks that belong to it, that are normalised each on its own; so
 * each normalised character is known to come from its cluster.
 */
internal class Normalizer(private val lowerCase: Boolean, private val stripAccents: Boolean) {
    /**
     * The words of a text. Each of [specialTokens] that is written in it is a word of its own.
     *
     * They are looked for in the text as it is, as in Python: with a soft hyphen in it, "[MASK]" is plain text.
     */
    fun words(text: String, specialTokens: List<String> = emptyList()): List<Word> {
        val collector = WordCollector()
        var start = 0
        val found = if (specialTokens.isEmpty()) emptySequence() else written(specialTokens).findAll(text)
        for (match in found) {
            val end = match.range.last + 1
            addWords(CleanText.of(text, start, match.range.first), collector)
            collector.addSpecial(match.value.replace(RESERVED, ""), match.range.first, end)
            start = end
        }
        addWords(CleanText.of(text, start, text.length), collector)
        return collector.words
    }

    /** Any of the tokens; [RESERVED] characters in it do not count. */
    private fun written(tokens: List<String>) = Regex(
        tokens.joinToString("|") { token -> token.toList().joinToString("$RESERVED*") { Regex.escape("$it") } },
    )

    private fun addWords(clean: CleanText, collector: WordCollector) {
        var start = 0
        while (start < clean.text.length) {
            val end = clusterEnd(clean.text, start)
            addCluster(clean, start, end, collector)
            start = end
        }
        collector.endWord()
    }

    /** Behind a character and what may join it or be reordered behind it: marks, and Hangul's vowels and finals. */
    private fun clusterEnd(text: String, start: Int): Int {
        val first = text.codePointAt(start)
        var end = start + Character.charCount(first)
        if (Unicodes.isBlank(first)) return end
        while (end < text.length) {
            val next = text.codePointAt(end)
            if (!Unicodes.isMark(next) && next !in HANGUL_VOWELS_AND_FINALS) break
            end += Character.charCount(next)
        }
        return end
    }

    private fun addCluster(clean: CleanText, start: Int, end: Int, collector: WordCollector) {
        val whole = form(clean.text.substring(start, end))
        val limits = characterLimits(clean.text, start, end)
        if (limits.size == 2) return collector.add(whole, clean.starts[start], clean.ends[end - 1])
        val starts = limits.dropLast(1).map { clean.starts[it] }
        val ends = limits.drop(1).map { clean.ends[it - 1] }
        val forms = limits.zipWithNext { from, to -> form(clean.text.substring(from, to)) }
        when {
            forms.joinToString("") == whole -> addEach(forms, starts, ends, collector)
            whole.startsWith(forms[0]) -> { // marks that changed places
                collector.add(forms[0], starts[0], ends[0])
                collector.add(whole.removePrefix(forms[0]), starts[1], ends.last())
            }
            else -> collector.add(whole, starts[0], ends.last()) // characters that became one
        }
    }

    /** Adds what each character became; those that became nothing belong to the one before. */
    private fun addEach(forms: List<String>, starts: List<Int>, ends: List<Int>, collector: WordCollector) {
        val left = forms.indices.filter { forms[it].isNotEmpty() }
        left.forEachIndexed { i, index ->
            val last = (left.getOrNull(i + 1) ?: forms.size) - 1
            collector.add(forms[index], starts[index], ends[last])
        }
    }

    /** Where each character begins, and the end. */
    private fun characterLimits(text: String, start: Int, end: Int): List<Int> {
        val limits = mutableListOf(start)
        while (limits.last() < end) limits += limits.last() + Character.charCount(text.codePointAt(limits.last()))
        return limits
    }

    /** Lower-cased if the vocabulary is; without accents, or with composed characters. */
    private fun form(text: String): String {
        if (text.length == 1 && text[0] < '\u0080') return if (lowerCase) text.lowercase() else text
        val cased = if (stripAccents) text else Unicode.normalize(text, Unicode.Form.NFC)
        val folded = if (lowerCase) lowered(cased) else cased
        if (!stripAccents) return folded
        val decomposed = Unicode.normalize(folded, Unicode.Form.NFD)
        val stripped = StringBuilder(decomposed.length)
        forEachCharacter(decomposed) { if (!Unicodes.isAccent(it)) stripped.appendCodePoint(it) }
        return stripped.toString()
    }

    private fun lowered(text: String): String {
        val lower = StringBuilder(text.length)
        forEachCharacter(text) {
            if (it == DOTTED_I) lower.append("i\u0307") else lower.appendCodePoint(Unicodes.lowerCase(it))
        }
        return lower.toString()
    }

    private companion object {
        /** Python puts these in the place of special tokens, so it removes them from a text first. */
        val RESERVED = Regex("[\uE000-\uE004]")

        const val DOTTED_I = 0x130 // the one character whose lower case is two

        val HANGUL_VOWELS_AND_FINALS = 0x1160..0x11FF
    }
}

/** A part of a text without the characters that BERT removes, and where its units were: [starts] and [ends] [N]. */
private class CleanText(val text: String, val starts: IntArray, val ends: IntArray) {
    companion object {
        fun of(text: String, from: Int, to: Int): CleanText {
            val clean = StringBuilder(to - from)
            val starts = IntArray(to - from)
            val ends = IntArray(to - from)
            var place = from
            while (place < to) {
                val character = text.codePointAt(place)
                val next = place + Character.charCount(character)
                if (!Unicodes.isRemoved(character)) {
                    starts.fill(place, clean.length, clean.length + next - place)
                    ends.fill(next, clean.length, clean.length + next - place)
                    clean.appendCodePoint(character)
                }
                place = next
            }
            return CleanText(clean.toString(), starts, ends)
        }
    }
}

/** Puts normalised characters together to words. */
private class WordCollector {
    val words = ArrayList<Word>()
    private val text = StringBuilder()
    private var starts = IntArray(16)
    private var ends = IntArray(16)

    /** Adds the characters of [form], all of which come from one place. */
    fun add(form: String, start: Int, end: Int) = forEachCharacter(form) { character ->
        when {
            Unicodes.isBlank(character) -> endWord()
            Unicodes.isSeparate(character) -> {
                endWord()
                append(character, start, end)
                endWord()
            }
            else -> append(character, start, end)
        }
    }

    fun addSpecial(token: String, start: Int, end: Int) {
        words += Word(token, intArrayOf(start), intArrayOf(end), special = true)
    }

    fun endWord() {
        if (text.isEmpty()) return
        words += Word(text.toString(), starts.copyOf(text.length), ends.copyOf(text.length))
        text.setLength(0)
    }

    private fun append(character: Int, start: Int, end: Int) {
        val from = text.length
        text.appendCodePoint(character)
        if (text.length > starts.size) {
            starts = starts.copyOf(2 * starts.size)
            ends = ends.copyOf(2 * ends.size)
        }
        starts.fill(start, from, text.length)
        ends.fill(end, from, text.length)
    }
}

private inline fun forEachCharacter(text: String, action: (Int) -> Unit) {
    var place = 0
    while (place < text.length) {
        val character = text.codePointAt(place)
        action(character)
        place += Character.charCount(character)
    }
}
