package mobilebert.text

import mobilebert.Goldens
import mobilebert.InputException
import mobilebert.characters
import mobilebert.ints
import mobilebert.map
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class WordPieceTest {
    @Test
    fun piecesAndPlacesArePythons() = Goldens.eachCase("tokenizer") { case ->
        val text = case.given["text"] as String
        val (lowerCase, stripAccents) = listOf("lower_case", "strip_accents").map { case.given[it] as Boolean }
        val tokenizer = Goldens.tokenizer(lowerCase, stripAccents)
        val pieces = tokenizer.tokenize(text, specialTokens = case.given["special_tokens"] == true)
        val expected = map(case.expected)
        assertEquals(ints(expected["ids"]), pieces.map { it.id })
        if ("starts" in expected) {
            assertEquals(ints(expected["starts"]), pieces.map { text.characters(it.start) })
            assertEquals(ints(expected["ends"]), pieces.map { text.characters(it.end) })
        }
    }

    @Test
    fun placesAreIndicesOfTheString() {
        val text = "\uD83D\uDE42 caf\u0065\u0301 \uD83D\uDE42"
        val parts = Goldens.uncased.tokenize(text).map { text.substring(it.start, it.end) }
        assertEquals(listOf("\uD83D\uDE42", "cafe\u0301", "\uD83D\uDE42"), parts)
    }

    @Test
    fun placesOfSpecialTokens() {
        val text = "\uD83D\uDE42 the\u00ad [MASK]\u0301 was\uE004[MASK] [MA\u00adSK]"
        val masks = Goldens.uncased.tokenize(text, specialTokens = true).filter { it.id == Goldens.uncased.maskId }
        assertEquals(listOf("[MASK]", "[MASK]"), masks.map { text.substring(it.start, it.end) })
        val last = Goldens.uncased.tokenize(text, specialTokens = true).takeLast(3)
        assertEquals(listOf("[", "MA\u00adSK", "]"), last.map { text.substring(it.start, it.end) })
    }

    @Test
    fun oneTokenizerForManyThreads() {
        val text = "The caf\u00e9 was low. ".repeat(50)
        val expected = Goldens.uncased.tokenize(text)
        val found = (1..8).toList().parallelStream().map { Goldens.uncased.tokenize(text) }.toArray()
        assertTrue(found.all { it == expected })
    }

    @Test
    fun aVocabularyMustBeOne() {
        val special = WordPiece.SPECIAL_TOKENS
        val refused = mapOf(
            emptyList<String>() to "the vocabulary is empty",
            special - "[SEP]" to "the vocabulary lacks the special token [SEP]",
            special + listOf("a", "a") to "the vocabulary holds the piece a twice",
            special + "" to "line 6 of the vocabulary is empty",
        )
        for ((vocabulary, message) in refused) {
            assertEquals(message, assertFailsWith<InputException> { WordPiece(vocabulary) }.message)
        }
    }
}
