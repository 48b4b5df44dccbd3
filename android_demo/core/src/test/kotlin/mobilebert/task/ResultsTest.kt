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
    fun wordsAndEntitiesArePythons() = Goldens.eachCase("labels") { case ->
        val text = case.given["text"] as String
        val rows = list(case.given["probabilities"]).map(::floats)
        val labels = strings(case.given["labels"])
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

    @Test
    fun schemesOfLabelsArePythons() = Goldens.eachCase("tags") { case ->
        val scheme = TagScheme.of(strings(case.given["labels"]))
        val expected = map(case.expected)
        assertEquals(expected["scheme"], scheme.name)
        assertEquals(strings(expected["kinds"]).toSet(), scheme.kinds.toSet())
        assertEquals(scheme.kinds.isNotEmpty(), scheme.hasEntities)
        val bio = scheme.tags(strings(case.given["words"])).map { tag ->
            if (tag == null) "O" else (if (tag.begins) "B-" else "I-") + tag.kind
        }
        assertEquals(strings(expected["bio"]), bio)
    }

    @Test
    fun chosenLabelsArePythons() {
        val labels = strings(Goldens.file("multi_label")["labels"])
        Goldens.eachCase("multi_label") { case ->
            val probabilities = labels.zip(floats(case.given["probability"]).toList(), ::LabelProbability)
            val found = chosen(probabilities, doubles(case.given["thresholds"]).toList())
            assertEquals(strings(case.expected), found.map { it.label })
        }
    }

    @Test
    fun microF1IsPythons() = Goldens.eachCase("label_scores") { case ->
        val labels = List(int(case.given["classes"])) { "$it" }
        val (wanted, given) = listOf("wanted", "given").map { name ->
            list(case.given[name]).map { numbers -> ints(numbers).map { "$it" }.toSet() }
        }
        val scores = LabelScores.of(labels, wanted, given)
        assertClose(map(case.expected)["micro_f1"] as Double, scores.microF1, tolerance = 1e-9)
    }

    @Test
    fun scoresOfALabelAreCounted() {
        val wanted = listOf(setOf("a", "b"), setOf(), setOf("a"))
        val given = listOf(setOf("a"), setOf("c"), setOf("c"))
        val scores = LabelScores.of(listOf("a", "b", "c", "d"), wanted, given).labels
        val expected = listOf(LabelScore("a", 1, 2, 1), LabelScore("b", 0, 1, 0), LabelScore("c", 0, 0, 2))
        assertEquals(expected, scores)
        assertEquals(listOf(2.0 / 3, 0.0, 0.0), scores.map { it.f1 })
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
