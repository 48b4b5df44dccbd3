package mobilebert.model

import mobilebert.Goldens
import mobilebert.InputException
import mobilebert.int
import java.nio.ByteBuffer
import java.util.Base64
import java.util.Random
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFalse

class ContractTest {
    @Test
    fun whatIsWrongIsPythons() = Goldens.eachCase("contract") { case ->
        assertEquals(case.expected, problem(content(case), int(case.given["pieces"])))
    }

    /** 20,000 times a few bytes spoilt: whole, or a line; nothing else and not for ever. */
    @Test
    fun aDamagedGraphIsOneLine() {
        var whole = ByteArray(0)
        Goldens.eachCase("contract") { if (it.name == "nothing") whole = content(it) }
        val random = Random(6)
        repeat(20_000) {
            val spoilt = whole.copyOf()
            repeat(1 + random.nextInt(4)) { spoilt[random.nextInt(spoilt.size)] = random.nextInt(256).toByte() }
            assertFalse('\n' in problem(spoilt, pieces = 1).orEmpty())
        }
    }

    private fun content(case: Goldens.Case) = Base64.getDecoder().decode(case.given["content"] as String)

    /** Null for none. */
    private fun problem(content: ByteArray, pieces: Int): String? = try {
        FlatTable.ofModel(ByteBuffer.wrap(content)) { Contract(it).check(Head.CLASSIFIER, pieces) }
        null
    } catch (error: InputException) {
        error.message!!.removePrefix("the file is damaged, or not made by mobilebert_tf's export: ")
    }
}
