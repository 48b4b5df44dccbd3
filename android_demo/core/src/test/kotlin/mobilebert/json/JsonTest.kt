package mobilebert.json

import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

class JsonTest {
    private val value = mapOf(
        "text" to "a\"\\\n\u0001é\uD83D\uDE42\uD800",
        "numbers" to listOf(0.0, -1.5, 1e300),
        "empty" to listOf(emptyMap<String, Any>(), emptyList<Any>()),
        "words" to listOf(true, false, null),
    )

    @Test
    fun whatIsWrittenIsReadAgain() {
        assertEquals(value, parseJson(writeJson(value)))
        assertEquals("[\n  1,\n  2\n]\n", writeJson(listOf(1, 2L)))
    }

    @Test
    fun everyEscape() = assertEquals("\"\\/\b\u000c\n\r\té", parseJson(""" "\"\\\/\b\f\n\r\t\u00e9" """))

    @Test
    fun whatIsNoJsonSaysWhere() {
        val refused = listOf(
            "", "{", "[1,]", "{\"a\"}", "01", "1.", "nul", "\"a", "\"\n\"", "\"\\x\"", "\"\\u12\"", "1 2", "[1}", "'a'",
            "[".repeat(10_000),
        )
        for (text in refused) assertFailsWith<JsonException>(text.take(20)) { parseJson(text) }
        assertEquals("no value at character 4", assertFailsWith<JsonException> { parseJson("[1, x]") }.message)
    }

    @Test
    fun whatHasNoJsonIsNotWritten() {
        assertFailsWith<IllegalArgumentException> { writeJson(Double.NaN) }
        assertFailsWith<IllegalArgumentException> { writeJson(this) }
    }
}
