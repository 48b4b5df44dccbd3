package mobilebert

import mobilebert.json.parseJson
import mobilebert.text.WordPiece
import java.io.File
import kotlin.test.assertTrue

/** The golden files of the whole project, tests/goldens: see the README there. */
object Goldens {
    /** One of a file's cases. */
    class Case(val name: String, val given: Map<String, Any?>, val expected: Any?)

    private val folder: File = generateSequence(File("").absoluteFile) { it.parentFile }
        .map { File(it, "tests/goldens") }
        .firstOrNull { it.isDirectory } ?: error("no folder tests/goldens above ${File("").absolutePath}")

    val vocabulary: List<String> by lazy { strings(file("tokenizer")["vocabulary"]) }
    val uncased: WordPiece by lazy { WordPiece(vocabulary) }
    private val cased: WordPiece by lazy { WordPiece(vocabulary, lowerCase = false) }
    private val accented: WordPiece by lazy { WordPiece(vocabulary, lowerCase = true, stripAccents = false) }

    fun tokenizer(lowerCase: Boolean, stripAccents: Boolean): WordPiece =
        if (!lowerCase) cased else if (stripAccents) uncased else accented

    fun file(subject: String): Map<String, Any?> = map(parseJson(File(folder, "$subject.json").readText()))

    /** Checks every case; a failure names it. */
    fun eachCase(subject: String, check: (Case) -> Unit) {
        val cases = list(file(subject)["cases"]).map(::map)
        assertTrue(cases.isNotEmpty())
        for (case in cases) {
            val name = case["name"] as String
            try {
                check(Case(name, map(case["given"]), case["expected"]))
            } catch (error: Throwable) {
                throw AssertionError("$subject.json, case \"$name\": $error", error)
            }
        }
    }
}

@Suppress("UNCHECKED_CAST")
fun map(value: Any?): Map<String, Any?> = value as Map<String, Any?>

fun list(value: Any?): List<Any?> = value as List<Any?>

fun strings(value: Any?): List<String> = list(value).map { it as String }

fun ints(value: Any?): List<Int> = list(value).map { int(it) }

fun int(value: Any?): Int = (value as Double).toInt()

fun doubles(value: Any?): DoubleArray = list(value).map { it as Double }.toDoubleArray()

fun floats(value: Any?): FloatArray = list(value).map { (it as Double).toFloat() }.toFloatArray()

/** The golden files count characters, a String's indices UTF-16 units. */
fun String.characters(index: Int): Int = codePointCount(0, index)

fun assertClose(expected: Double, actual: Double, tolerance: Double = 1e-6) =
    assertTrue(expected == actual || kotlin.math.abs(expected - actual) <= tolerance, "$actual is not $expected")

fun assertClose(expected: FloatArray, actual: FloatArray) {
    assertTrue(expected.size == actual.size, "${actual.size} numbers, not ${expected.size}")
    for (i in expected.indices) assertClose(expected[i].toDouble(), actual[i].toDouble())
}
