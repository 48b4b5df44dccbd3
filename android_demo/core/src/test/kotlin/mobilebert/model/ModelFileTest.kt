package mobilebert.model

import mobilebert.Goldens
import mobilebert.InputException
import mobilebert.doubles
import mobilebert.int
import mobilebert.map
import mobilebert.strings
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64
import java.util.Random
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertTrue

class ModelFileTest {
    private val whole: ByteArray = contents().first { (_, expected) -> expected != null }.first

    @Test
    fun settingsArePythons() = Goldens.eachCase("model_files") { case ->
        val content = content(case)
        if (case.expected == null) {
            val message = assertFailsWith<InputException> { ModelFile.read(content) }.message
            assertEquals(REFUSALS.getValue(case.name), message)
            return@eachCase
        }
        val expected = map(case.expected)
        val file = ModelFile.read(content)
        assertEquals(expected["kind"], file.head.key)
        assertEquals(strings(expected["vocabulary"]), file.vocabulary)
        assertEquals(strings(expected["labels"]), file.labels)
        assertEquals(doubles(expected["thresholds"]).toList(), file.thresholds)
        assertEquals(expected["lower_case"], file.lowerCase)
        assertEquals(expected["strip_accents"], file.stripAccents)
        assertEquals(int(expected["max_tokens"]), file.maxTokens)
        assertEquals(expected["sequence_length"]?.let(::int), file.sequenceLength)
        assertEquals(expected["fixed_length"]?.let(::int), file.fixedLength)
        assertEquals(expected["pairs"], file.pairs)
        assertEquals(strings(expected["joiners"]), file.joiners)
        assertEquals(ModelFile.INPUTS.toSet(), file.inputs.keys)
        assertTrue(file.outputs.keys.containsAll(file.head.outputs))
        assertEquals(0, content.position())
    }

    @Test
    fun pairsAreTrueOrFalse() {
        val content = whole.with("\"sequence_length\": 32", "\"pairs\": 1")
        val message = assertFailsWith<InputException> { ModelFile.read(ByteBuffer.wrap(content)) }.message
        assertEquals("mobilebert.json in the file has no true or false for pairs", message)
    }

    /** The same file with other settings, of the same length. */
    private fun ByteArray.with(old: String, new: String): ByteArray =
        toString(Charsets.ISO_8859_1).replace(old, new.padEnd(old.length)).toByteArray(Charsets.ISO_8859_1)

    /** Every place cut, and 20,000 spoilt: a file, or a line; nothing else and not for ever. */
    @Test
    fun aDamagedFileIsOneLine() {
        for (size in 0 until whole.size) {
            assertFailsWith<InputException>("cut to $size") { ModelFile.read(ByteBuffer.wrap(whole, 0, size).slice()) }
        }
        val random = Random(5)
        repeat(20_000) {
            val spoilt = whole.copyOf()
            repeat(1 + random.nextInt(4)) { spoilt[random.nextInt(spoilt.size)] = random.nextInt(256).toByte() }
            try {
                ModelFile.read(ByteBuffer.wrap(spoilt))
            } catch (error: InputException) {
                assertFalse('\n' in error.message!!)
            }
        }
    }

    @Test
    fun integersAreScaledBack() {
        val info = TensorInfo("x", listOf(1, 2), NumberFormat.INT8, scale = 0.5f, zeroPoint = -3)
        assertEquals(listOf(2.5f, -62.5f), info.floats(ByteBuffer.wrap(byteArrayOf(2, -128))).toList())
        val unsigned = TensorInfo("x", listOf(1, 2), NumberFormat.UINT8, scale = 0.5f, zeroPoint = 3)
        assertEquals(listOf(-0.5f, 126f), unsigned.floats(ByteBuffer.wrap(byteArrayOf(2, -1))).toList())
        assertFailsWith<InputException> { info.copy(scale = 0f).floats(ByteBuffer.wrap(byteArrayOf(2))) }
    }

    @Test
    fun floatsAreRead() {
        val info = TensorInfo("x", listOf(1, 2), NumberFormat.FLOAT32)
        val bytes = ByteBuffer.allocate(8).order(ByteOrder.nativeOrder()).putFloat(2.5f).putFloat(-1f)
        assertEquals(listOf(2.5f, -1f), info.floats(bytes).toList())
        assertEquals(8, bytes.position())
    }

    private fun contents(): List<Pair<ByteArray, Any?>> = buildList {
        Goldens.eachCase("model_files") { add(content(it).array() to it.expected) }
    }

    private fun content(case: Goldens.Case): ByteBuffer =
        ByteBuffer.wrap(Base64.getDecoder().decode(case.given["content"] as String))

    private companion object {
        const val NO_ZIP = "the file holds no vocabulary: it is damaged, or not made by mobilebert_tf's export"
        val REFUSALS = mapOf(
            "empty" to "this is no .tflite file",
            "no .tflite file" to "this is no .tflite file",
            "cut in its flatbuffer" to NO_ZIP,
            "cut in its ZIP" to NO_ZIP,
            "its directory is gone" to NO_ZIP,
            "without metadata" to NO_ZIP,
            "a scale that is no number" to
                "the file is damaged, or not made by mobilebert_tf's export: the tensor ids has a scale that is no positive number",
            "no JSON in it" to "mobilebert.json in the file is damaged: no , at character 7",
            "unknown head" to "the file has a head of the kind clarifier , which this version does not know",
            "a limit that is none" to
                "mobilebert.json in the file has -4.0 for max_tokens: not a whole number from 1",
            "too few thresholds" to "mobilebert.json in the file has [0.25] for thresholds: not 2 numbers from 0 to 1",
            "a threshold above 1" to
                "mobilebert.json in the file has [0.25, 2.0] for thresholds: not 2 numbers from 0 to 1",
            "thresholds that are no list" to
                "mobilebert.json in the file has true for thresholds: not 2 numbers from 0 to 1",
            "joiners that are no list" to "mobilebert.json in the file has x-x for joiners: not a list",
            "joiners that are no texts" to "mobilebert.json in the file has 1.0 in joiners",
        )
    }
}
