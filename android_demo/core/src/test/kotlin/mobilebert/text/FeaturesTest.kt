package mobilebert.text

import mobilebert.Goldens
import mobilebert.InputException
import mobilebert.characters
import mobilebert.int
import mobilebert.ints
import mobilebert.list
import mobilebert.map
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

class FeaturesTest {
    @Test
    fun packedTextsArePythons() = Goldens.eachCase("features") { case ->
        val expected = map(case.expected)
        val length = case.given["max_tokens"]?.let(::int)
        val packed = Goldens.uncased.pack(case.given["text"] as String, case.given["pair"] as String?, length)
        assertInputs(expected, packed.inputs)
        assertEquals(ints(expected["input_mask"]), packed.inputs.mask.toList())
        assertEquals(int(expected["dropped"]), packed.dropped)
        val specials = if (case.given["pair"] == null) 2 else 3
        assertEquals(packed.inputs.size, packed.pieces.size + packed.pairPieces.size + specials)
    }

    @Test
    fun windowsArePythons() = Goldens.eachCase("windows") { case ->
        val document = case.given["document"] as String
        val sizes = WindowSizes(int(case.given["length"]))
        val windows = Goldens.uncased.windows(document, case.given["question"] as String, sizes)
        val expected = list(map(case.expected)["windows"]).map(::map)
        assertEquals(expected.size, windows.size)
        for ((wanted, window) in expected.zip(windows)) {
            assertInputs(wanted, window.inputs)
            val tokens = ints(wanted["starts"]).indices.filter { ints(wanted["starts"])[it] >= 0 }
            assertEquals(tokens, window.pieces.indices.map { window.offset + it })
            assertEquals(tokens.map { ints(wanted["starts"])[it] }, window.pieces.map { document.characters(it.start) })
            assertEquals(tokens.map { ints(wanted["ends"])[it] }, window.pieces.map { document.characters(it.end) })
            assertEquals(tokens.map { ints(wanted["max_context"])[it] == 1 }, window.owned.toList())
        }
    }

    @Test
    fun everyTokenOfADocumentIsOwnedOnce() {
        val document = "the abc of it was low. ".repeat(30)
        val windows = Goldens.uncased.windows(document, question = null, WindowSizes(17))
        val owned = windows.flatMap { window ->
            window.pieces.indices.filter { window.owned[it] }.map { window.first + it }
        }
        assertEquals(Goldens.uncased.tokenize(document).indices.toList(), owned.sorted())
    }

    @Test
    fun paddingStandsBehind() {
        val padded = Goldens.uncased.pack("the film", "was it").inputs.padded(9, padId = 7)
        assertEquals(listOf(7, 7), padded.ids.toList().takeLast(2))
        assertEquals(listOf(1, 1, 1, 1, 1, 1, 1, 0, 0), padded.mask.toList())
        assertEquals(listOf(0, 0, 0, 0, 1, 1, 1, 0, 0), padded.segmentIds.toList())
    }

    @Test
    fun aLengthMustLeaveRoom() {
        assertFailsWith<InputException> { Goldens.uncased.pack("a", null, maxTokens = 1) }
        assertFailsWith<InputException> { Goldens.uncased.pack("a", "b", maxTokens = 2) }
        assertFailsWith<InputException> { WindowSizes(3) }
        assertFailsWith<InputException> { WindowSizes(30, stride = 0) }
    }

    private fun assertInputs(expected: Map<String, Any?>, inputs: ModelInputs) {
        assertEquals(ints(expected["input_ids"]), inputs.ids.toList())
        assertEquals(ints(expected["segment_ids"]), inputs.segmentIds.toList())
    }
}
