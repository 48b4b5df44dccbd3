package mobilebert.model

import mobilebert.Goldens
import mobilebert.InputException
import mobilebert.int
import mobilebert.map
import mobilebert.strings
import java.nio.ByteBuffer
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
            val message = assertFailsWith<InputException> { ModelFile.read(content) }.message!!
            assertFalse('\n' in message)
            return@eachCase
        }
        val expected = map(case.expected)
        val file = ModelFile.read(content)
        assertEquals(expected["kind"], file.head.key)
        assertEquals(strings(expected["vocabulary"]), file.vocabulary)
        assertEquals(strings(expected["labels"]), file.labels)
        assertEquals(expected["lower_case"], file.lowerCase)
        assertEquals(int(expected["max_tokens"]), file.maxTokens)
        assertEquals(expected["sequence_length"]?.let(::int), file.sequenceLength)
        assertEquals(expected["fixed_length"]?.let(::int), file.fixedLength)
        assertEquals(ModelFile.INPUTS.toSet(), file.inputs.keys)
        assertTrue(file.outputs.keys.containsAll(file.head.outputs))
        assertEquals(0, content.position())
    }

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

    private fun contents(): List<Pair<ByteArray, Any?>> = buildList {
        Goldens.eachCase("model_files") { add(content(it).array() to it.expected) }
    }

    private fun content(case: Goldens.Case): ByteBuffer =
        ByteBuffer.wrap(Base64.getDecoder().decode(case.given["content"] as String))
}
