package mobilebert.task

import mobilebert.Goldens
import mobilebert.InputException
import mobilebert.assertClose
import mobilebert.characters
import mobilebert.doubles
import mobilebert.floats
import mobilebert.int
import mobilebert.ints
import mobilebert.list
import mobilebert.map
import mobilebert.strings
import mobilebert.text.WindowSizes
import mobilebert.text.windows
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

class ResultsTest {
    @Test
    fun softmaxIsPythons() = Goldens.eachCase("softmax") { case ->
        assertClose(floats(case.expected), softmax(floats(case.given["logits"])))
    }

    @Test
    fun answersArePythons() = Goldens.eachCase("answers") { case ->
        val document = case.given["document"] as String
        val sizes = WindowSizes(int(case.given["length"]))
        val found = answer(
            document,
            Goldens.uncased.windows(document, case.given["question"] as String, sizes),
            list(case.given["start_logits"]).map(::floats),
            list(case.given["end_logits"]).map(::floats),
            best = int(case.given["best"]),
            nullThreshold = case.given["null_threshold"] as Double?,
        )
        val expected = map(case.expected)
        assertEquals(expected["text"], found.text)
        assertEquals(int(expected["start"]), document.characters(found.start))
        assertEquals(int(expected["end"]), document.characters(found.end))
        assertClose(expected["probability"] as Double, found.probability)
        assertEquals(expected["null_score_difference"], found.nullScoreDifference)
        val best = list(expected["best"]).map(::map)
        assertEquals(best.map { it["text"] }, found.candidates.map { it.text })
        for ((wanted, candidate) in best.zip(found.candidates)) {
            assertEquals(int(wanted["start"]), document.characters(candidate.start))
            assertEquals(int(wanted["end"]), document.characters(candidate.end))
            assertEquals(wanted["score"], candidate.score)
            assertClose(wanted["probability"] as Double, candidate.probability)
        }
    }

    @Test
    fun logitsMustBeNumbers() {
        val windows = Goldens.uncased.windows("the end", "who", WindowSizes(20))
        val logits = listOf(FloatArray(windows[0].inputs.size) { Float.NaN })
        assertFailsWith<InputException> { answer("the end", windows, logits, logits) }
    }

    @Test
    fun wordsAndEntitiesArePythons() {
        val labels = strings(Goldens.file("labels")["labels"])
        Goldens.eachCase("labels") { case ->
            val text = case.given["text"] as String
            val rows = list(case.given["probabilities"]).map(::floats)
            val found = labelledText(text, Goldens.uncased, Goldens.uncased.tokenize(text), rows, labels)
            val expected = map(case.expected)
            for ((name, stretches) in listOf("words" to found.words, "entities" to found.entities)) {
                val actual = stretches.map {
                    val (start, end) = listOf(it.start, it.end).map(text::characters)
                    listOf(it.text, start, end, it.label, it.probability.toDouble())
                }
                val wanted = list(expected[name]).map(::map).map {
                    listOf(it["text"], int(it["start"]), int(it["end"]), it["label"], it["probability"])
                }
                assertEquals(wanted, actual)
            }
        }
    }

    @Test
    fun wordsWithMarksArePythons() {
        val labels = strings(Goldens.file("words")["labels"])
        Goldens.eachCase("words") { case ->
            val text = case.given["text"] as String
            val rows = list(case.given["probabilities"]).map(::floats)
            val joiners = strings(case.given["joiners"])
            val found = labelledText(text, Goldens.uncased, Goldens.uncased.tokenize(text), rows, labels, joiners)
            val actual = found.words.map { listOf(it.text, text.characters(it.start), text.characters(it.end), it.label) }
            val wanted = list(case.expected).map(::map).map {
                listOf(it["text"], int(it["start"]), int(it["end"]), it["label"])
            }
            assertEquals(wanted, actual)
        }
    }

    @Test
    fun candidatesForMasksArePythons() = Goldens.eachCase("masks") { case ->
        val top = int(case.given["top"])
        val expected = list(map(case.expected)["masks"]).map { list(it).map(::map) }
        val found = list(case.given["logits"]).map { likeliestTokens(floats(it), Goldens.vocabulary, top) }
        assertEquals(expected.map { mask -> mask.map { it["token"] } }, found.map { mask -> mask.map { it.token } })
        for ((wanted, candidate) in expected.flatten().zip(found.flatten())) {
            assertClose(wanted["probability"] as Double, candidate.probability.toDouble())
        }
    }

    @Test
    fun searchIsPythons() = Goldens.eachCase("embeddings") { case ->
        val vectors = list(case.given["vectors"]).map(::floats)
        val query = floats(case.given["query"])
        val expected = map(case.expected)
        val cosines = doubles(expected["cosines"])
        vectors.forEachIndexed { i, vector -> assertClose(cosines[i], cosine(query, vector).toDouble()) }
        val index = EmbeddingIndex(vectors.indices.map { "text $it" }, vectors)
        assertEquals(ints(expected["order"]), index.search(query, top = 99).map { it.index })
        assertEquals(listOf("text ${ints(expected["order"])[0]}"), index.search(query, top = 1).map { it.text })
    }
}
