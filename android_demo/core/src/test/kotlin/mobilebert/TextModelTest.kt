package mobilebert

import mobilebert.model.Engine
import mobilebert.model.Head
import mobilebert.model.ModelFile
import mobilebert.model.Tensor
import mobilebert.text.ModelInputs
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

class TextModelTest {
    /** Says of each token what [say] says; keeps what it was given. */
    private class Scripted(private val say: (ModelInputs) -> Map<String, Tensor>) : Engine {
        val seen = mutableListOf<ModelInputs>()
        var closed = false
        override val accelerator = "a script"

        override fun run(inputs: ModelInputs): Map<String, Tensor> = say(inputs).also { seen += inputs }

        override fun close() {
            closed = true
        }
    }

    private val vocabulary = Goldens.vocabulary

    private fun file(head: Head, labels: List<String> = emptyList(), maxTokens: Int = 20, fixedLength: Int? = null) =
        ModelFile(head, vocabulary, labels, true, true, maxTokens, null, fixedLength, emptyMap(), emptyMap())

    private fun values(vararg values: Float) = Tensor(listOf(1, values.size), values)

    @Test
    fun aTextThatIsTooLongIsCutAndThatIsSaid() {
        val engine = Scripted { mapOf("probability" to values(0.25f, 0.75f)) }
        TextModel(file(Head.CLASSIFIER, listOf("bad", "good"), maxTokens = 6), engine).use { model ->
            assertEquals("good", model.classify("the film was low").best.label)
            assertEquals(0, model.classify("the film").droppedTokens)
            assertEquals(3, model.classify("the film was low", "the film").droppedTokens)
            assertEquals(6, engine.seen.last().size)
            assertEquals(1, model.classify("the film was low", maxTokens = 5).droppedTokens)
        }
        assertTrue(engine.closed)
        val encoder = TextModel(file(Head.ENCODER, maxTokens = 4), Scripted { mapOf("embedding" to values(1f)) })
        assertEquals(listOf(0, 2), listOf("the film", "the film was low").map { encoder.embed(it).droppedTokens })
    }

    @Test
    fun aTextHasAnyNumberOfLabels() {
        val labels = listOf("war", "love", "sea")
        val engine = Scripted { inputs ->
            mapOf("probability" to if (inputs.size == 4) values(0.5f, 0.9f, 0.4f) else values(0.1f, 0.2f, 0.3f))
        }
        val file = ModelFile(
            Head.MULTI_LABEL_CLASSIFIER, vocabulary, labels, true, true, 20, null, null, emptyMap(), emptyMap(), List(3) { 0.5 },
        )
        val model = TextModel(file, engine)
        assertEquals(listOf("love", "war"), model.classifyMultiLabel("the film").chosen.map { it.label })
        val none = model.classifyMultiLabel("the film was low")
        assertEquals(emptyList(), none.chosen)
        assertEquals(labels, none.probabilities.map { it.label })
    }

    @Test
    fun aModelOfPairsNeedsTheSecondText() {
        val file = ModelFile(
            Head.REGRESSION, vocabulary, emptyList(), true, true, 20, null, null, emptyMap(), emptyMap(), pairs = true,
        )
        val model = TextModel(file, Scripted { mapOf("score" to values(0.5f)) })
        assertEquals(0.5f, model.score("the film", "was low").value)
        val message = assertFailsWith<InputException> { model.score("the film") }.message
        assertEquals("the model was trained on pairs of texts: give the second text", message)
    }

    @Test
    fun aFileOfFixedLengthGetsPadding() {
        val engine = Scripted { mapOf("embedding" to values(1f, 2f)) }
        val model = TextModel(file(Head.ENCODER, fixedLength = 20), engine)
        assertEquals(listOf(1f, 2f), model.embed("the film").values.toList())
        assertEquals(listOf(20, 4), listOf(engine.seen.single().size, engine.seen.single().mask.sum()))
    }

    @Test
    fun anAnswerIsFoundInADocumentOfAnyLength() {
        val document = "the abc of it was low. ".repeat(20) + "hello was said in the caf\u00e9 \uD83D\uDE42 in the end"
        val wanted = listOf("cafe", "\uD83D\uDE42").map(vocabulary::indexOf)

        fun logits(inputs: ModelInputs, id: Int) =
            values(*FloatArray(inputs.size) { if (inputs.ids[it] == id) 9f else -it / 100f })

        val engine = Scripted { mapOf("start_logits" to logits(it, wanted[0]), "end_logits" to logits(it, wanted[1])) }
        val windows = mutableListOf<Int>()
        val model = TextModel(file(Head.SPAN), engine)
        val found = model.answer("the end", document) { index, count ->
            windows += index
            assertTrue(index < count)
        }
        assertEquals("caf\u00e9 \uD83D\uDE42", found.text)
        assertEquals(found.text, document.substring(found.start, found.end))
        assertEquals(engine.seen.indices.toList(), windows)
        assertTrue(windows.size > 5)
        assertFailsWith<InputException> { model.answer("who", " \u200b ") }
        val dropped = listOf("the end of", "the end of the world").map { model.answer(it, document).droppedTokens }
        assertEquals(listOf(0, 2), dropped) // a sixth of 20 tokens is 3
    }

    @Test
    fun wordsOfALongTextHaveLabels() {
        val text = "hello was in the world . ".repeat(20)
        val hello = vocabulary.indexOf("hello")
        val engine = Scripted { inputs ->
            val rows = inputs.ids.flatMap { if (it == hello) listOf(0.9f, 0.1f) else listOf(0.2f, 0.8f) }
            mapOf("token_probability" to Tensor(listOf(1, inputs.size, 2), rows.toFloatArray()))
        }
        val found = TextModel(file(Head.TOKEN_CLASSIFIER, listOf("B-greeting", "O")), engine).labelWords(text)
        assertEquals(text.trim().split(" "), found.words.map { it.text })
        assertEquals(List(20) { "hello" to "greeting" }, found.entities.map { it.text to it.label })
        assertTrue(engine.seen.size > 5 && engine.seen.all { it.size <= 20 })
    }

    @Test
    fun masksAreFilledWhereTheyAre() {
        val text = "\uD83D\uDE42 the [MASK] was"
        val engine = Scripted { inputs ->
            val size = vocabulary.size
            val logits = FloatArray(inputs.size * size)
            logits[3 * size + vocabulary.indexOf("film")] = 9f // [CLS] emoji the [MASK]
            mapOf("mlm_logits" to Tensor(listOf(1, inputs.size, size), logits))
        }
        val model = TextModel(file(Head.MASKED_LM), engine)
        val mask = model.fillMasks(text, top = 2).single()
        assertEquals("film", mask.candidates[0].token)
        assertEquals("[MASK]", text.substring(mask.start, mask.end))
        assertFailsWith<InputException> { model.fillMasks("the film") }
        assertFailsWith<InputException> { model.fillMasks("the [MASK] ".repeat(20)) }
    }

    @Test
    fun aHeadAnswersItsOwnQuestionsOnly() {
        val model = TextModel(file(Head.ENCODER), Scripted { emptyMap() })
        assertFailsWith<IllegalStateException> { model.classify("the film") }
        assertFailsWith<InputException> { model.embed("the film") } // no such output
    }
}
