/**
 * JSON as plain Kotlin values: Map<String, Any?> in the order of the text, List<Any?>, String, Double, Boolean, null.
 *
 * Android has a reader of its own, a JVM has none; this one is the same on both and needs no dependency.
 */
package mobilebert.json

/** Text that is no JSON; the message says where. */
class JsonException(message: String) : Exception(message)

/** @throws JsonException for text that is not one JSON value, or is nested deeper than 100 levels. */
fun parseJson(text: String): Any? = JsonReader(text).read()

/**
 * Writes maps, lists, strings, numbers, booleans and null, indented by two blanks a level.
 *
 * @throws IllegalArgumentException for a number that is not finite, or a value of another kind.
 */
fun writeJson(value: Any?): String = StringBuilder().also { writeValue(value, it, "\n") }.append('\n').toString()

private fun writeValue(value: Any?, out: StringBuilder, newLine: String) {
    when (value) {
        null, is Boolean, is Int, is Long -> out.append(value)
        is Double -> out.append(value.also { require(it.isFinite()) { "JSON has no number $it" } })
        is Float -> writeValue(value.toDouble(), out, newLine)
        is String -> writeString(value, out)
        is Map<*, *> -> writeAll(value.entries, '{', '}', out, newLine) { (key, item), inner ->
            writeString(key as String, out)
            out.append(": ")
            writeValue(item, out, inner)
        }
        is List<*> -> writeAll(value, '[', ']', out, newLine) { item, inner -> writeValue(item, out, inner) }
        else -> throw IllegalArgumentException("JSON has no ${value.javaClass.simpleName}")
    }
}

private fun <T> writeAll(
    items: Collection<T>,
    open: Char,
    close: Char,
    out: StringBuilder,
    newLine: String,
    write: (T, String) -> Unit,
) {
    val inner = "$newLine  "
    out.append(open)
    items.forEachIndexed { index, item ->
        out.append(if (index == 0) inner else ",$inner")
        write(item, inner)
    }
    if (items.isNotEmpty()) out.append(newLine)
    out.append(close)
}

private fun writeString(text: String, out: StringBuilder) {
    out.append('"')
    for (unit in text) {
        when {
            unit == '"' || unit == '\\' -> out.append('\\').append(unit)
            unit < ' ' || unit.isSurrogate() -> out.append("\\u").append(unit.code.toString(16).padStart(4, '0'))
            else -> out.append(unit)
        }
    }
    out.append('"')
}

private class JsonReader(private val text: String) {
    private var place = 0

    fun read(): Any? {
        val value = value(depth = 0)
        skipBlanks()
        if (place < text.length) fail("more text behind the value")
        return value
    }

    private fun value(depth: Int): Any? {
        if (depth > DEEPEST) fail("nested deeper than $DEEPEST levels")
        skipBlanks()
        return when (peek()) {
            '{' -> map(depth)
            '[' -> list(depth)
            '"' -> string()
            't' -> word("true", true)
            'f' -> word("false", false)
            'n' -> word("null", null)
            else -> number()
        }
    }

    private fun map(depth: Int): Map<String, Any?> {
        val map = LinkedHashMap<String, Any?>()
        items('{', '}') {
            val key = string()
            skipBlanks()
            take(':')
            map[key] = value(depth + 1)
        }
        return map
    }

    private fun list(depth: Int): List<Any?> {
        val list = ArrayList<Any?>()
        items('[', ']') { list += value(depth + 1) }
        return list
    }

    private fun items(open: Char, close: Char, item: () -> Unit) {
        take(open)
        skipBlanks()
        if (peek() == close) return take(close)
        while (true) {
            skipBlanks()
            item()
            skipBlanks()
            if (peek() == close) return take(close)
            take(',')
        }
    }

    private fun string(): String {
        take('"')
        val found = StringBuilder()
        while (true) {
            val unit = peek()
            place++
            when {
                unit == '"' -> return found.toString()
                unit == '\\' -> found.append(escaped())
                unit < ' ' -> fail("a control character in a string")
                else -> found.append(unit)
            }
        }
    }

    private fun escaped(): Char {
        val unit = peek()
        place++
        return when (unit) {
            '"', '\\', '/' -> unit
            'b' -> '\b'
            'f' -> '\u000c'
            'n' -> '\n'
            'r' -> '\r'
            't' -> '\t'
            'u' -> {
                val digits = text.substring(place, minOf(place + 4, text.length))
                if (!HEXADECIMAL.matches(digits)) fail("\\u without four digits")
                place += 4
                digits.toInt(16).toChar()
            }
            else -> fail("\\$unit")
        }
    }

    private fun <T> word(word: String, value: T): T {
        if (!text.startsWith(word, place)) fail("no value")
        place += word.length
        return value
    }

    private fun number(): Double {
        val start = place
        while (place < text.length && text[place] in "+-.0123456789eE") place++
        val digits = text.substring(start, place)
        if (!NUMBER.matches(digits)) fail("no value")
        return digits.toDouble()
    }

    private fun skipBlanks() {
        while (place < text.length && text[place] in " \t\r\n") place++
    }

    private fun peek(): Char = if (place < text.length) text[place] else fail("the text ends")

    private fun take(unit: Char) {
        if (peek() != unit) fail("no $unit")
        place++
    }

    private fun fail(problem: String): Nothing = throw JsonException("$problem at character $place")

    private companion object {
        const val DEEPEST = 100
        val NUMBER = Regex("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")
        val HEXADECIMAL = Regex("[0-9a-fA-F]{4}")
    }
}
