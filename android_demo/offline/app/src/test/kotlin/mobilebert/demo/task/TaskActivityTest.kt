package mobilebert.demo.task

import android.net.Uri
import android.text.Spanned
import android.text.style.BackgroundColorSpan
import android.view.ViewGroup
import android.widget.TextView
import mobilebert.demo.MODELS
import mobilebert.demo.R
import mobilebert.demo.Screen
import mobilebert.demo.benchmark.BenchmarkActivity
import mobilebert.demo.model
import mobilebert.demo.modelWith
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.Shadows.shadowOf
import java.io.File
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertTrue

/** Each kind of model, run by LiteRT: text in, result out. */
@RunWith(RobolectricTestRunner::class)
class TaskActivityTest {
    @get:Rule
    val folder = TemporaryFolder()

    private fun open(name: String): Screen<TaskActivity> =
        Screen.open<TaskActivity>(model(name)).also { it.awaitModel() }

    private fun Screen<*>.run() {
        press(R.id.run)
        await("a result") { rows().isNotEmpty() || shown(R.id.status) }
    }

    /** Label and value of each row. */
    private fun Screen<*>.rows(): List<Pair<String, String>> {
        val parent = view<ViewGroup>(R.id.outcome)
        return (0 until parent.childCount).map { parent.getChildAt(it) }.mapNotNull { row ->
            val label = row.findViewById<TextView>(R.id.label) ?: return@mapNotNull null
            label.text.toString() to row.findViewById<TextView>(R.id.value).text.toString()
        }
    }

    private fun Screen<*>.labels() = rows().map { it.first }

    private fun Screen<*>.marked(): List<String> {
        val text = view<TextView>(R.id.marked).text as Spanned
        return text.getSpans(0, text.length, BackgroundColorSpan::class.java)
            .map { text.substring(text.getSpanStart(it), text.getSpanEnd(it)) }
    }

    @Test
    fun `a text is classified`() = open("classifier").use { screen ->
        assertFalse(screen.shown(R.id.option))
        screen.run()
        assertEquals(listOf("positive", "negative"), screen.labels())
        assertTrue(screen.rows()[0].second.removeSuffix("%").toDouble() > 99, "${screen.rows()}")
        screen.save("classify")
        screen.write(R.id.first, "The concert is dull.")
        screen.run()
        screen.await("another result") { screen.labels() == listOf("negative", "positive") }
    }

    @Test
    fun `a text has several labels, one or none`() = open("multi_label_classifier").use { screen ->
        screen.run()
        assertTrue("The text has these labels: delivery, damage" in screen.texts() || "The text has these labels: damage, delivery" in screen.texts(), "${screen.texts()}")
        assertEquals(setOf("delivery (from 50.0%)", "damage (from 40.0%)", "price (from 60.0%)"), screen.labels().toSet())
        assertEquals("price (from 60.0%)", screen.labels().last())
        screen.save("labels")
        screen.write(R.id.first, "The soup was cheap.")
        screen.run()
        screen.await("one label") { "The text has these labels: price" in screen.texts() }
        screen.write(R.id.first, "The soup was cold.")
        screen.run()
        screen.await("no label") { "The text has no label: none reaches its threshold." in screen.texts() }
    }

    private fun openWith(setting: String): Screen<TaskActivity> =
        Screen.open<TaskActivity>(modelWith(setting, folder.root)).also { it.awaitModel() }

    @Test
    fun `a model of pairs asks for the second text`() = openWith("\"pairs\": true").use { screen ->
        assertEquals("Second text", screen.text(R.id.second_title))
        screen.run()
        assertEquals("the model was trained on pairs of texts: give the second text", screen.text(R.id.status))
        screen.write(R.id.second, "The book is dull.")
        screen.run()
        screen.await("a result") { screen.labels().size == 2 }
    }

    @Test
    fun `a model of single texts asks for one`() {
        open("classifier").use { assertEquals("Second text, if the model compares two", it.text(R.id.second_title)) }
        openWith("\"pairs\": false").use { screen ->
            assertFalse(screen.shown(R.id.second) || screen.shown(R.id.second_title))
            screen.run()
            assertEquals(2, screen.labels().size)
        }
    }

    @Test
    fun `a question is answered and the answer is marked in the document`() = open("span").use { screen ->
        screen.run()
        assertEquals(listOf("Anna Meyer"), screen.marked())
        assertEquals("Anna Meyer", screen.labels()[0])
        screen.save("answer")
        screen.write(R.id.first, "When was the lighthouse built?")
        screen.run()
        screen.await("the other answer") { screen.labels().first() == "1878" }
    }

    @Test
    fun `an answer is found in a document longer than the model`() = open("span").use { screen ->
        val padding = "The sea is calm and the wind is warm. ".repeat(60)
        screen.write(R.id.second, padding + screen.text(R.id.second) + padding)
        screen.run()
        assertEquals(listOf("Anna Meyer"), screen.marked())
    }

    @Test
    fun `words are labelled in colour and in words`() = open("token_classifier").use { screen ->
        screen.run()
        assertEquals(listOf("Anna Meyer", "Vienna", "Acme", "Lisbon"), screen.marked())
        assertEquals(listOf("Anna Meyer: person", "Vienna: place", "Acme: firm", "Lisbon: place"), screen.labels())
        screen.save("label_words")
    }

    @Test
    fun `a missing word is filled in`() = open("masked_lm").use { screen ->
        screen.run()
        assertEquals("The cat sleeps near the fire.", screen.text(R.id.marked))
        assertEquals(listOf("fire"), screen.marked())
        screen.save("fill_masks")
    }

    @Test
    fun `a list is searched by meaning`() = open("encoder").use { screen ->
        screen.run()
        val best = screen.labels().take(2)
        assertEquals(setOf("Dinner is served at eight.", "We ate at the new restaurant."), best.toSet())
        screen.save("search")
    }

    @Test
    fun `text and result survive turning the phone`() = open("classifier").use { screen ->
        screen.write(R.id.first, "The song is boring.")
        screen.run()
        val before = screen.activity
        screen.change("+land")
        assertTrue(screen.activity !== before, "the activity was not made anew")
        assertEquals("The song is boring.", screen.text(R.id.first))
        assertEquals(listOf("negative", "positive"), screen.labels())
    }

    @Test
    fun `a model that is chosen again starts with its example and no result`() {
        open("classifier").use { it.run() }
        open("classifier").use { screen ->
            assertEquals("The film is slow at first, but the end is great.", screen.text(R.id.first))
            assertEquals(emptyList(), screen.rows())
        }
    }

    @Test
    fun `a file that was exported again is read again`() {
        val file = File(folder.root, "model.tflite")
        for ((name, title) in listOf("classifier" to "Text", "span" to "Question")) {
            File(MODELS, "$name.tflite").copyTo(folder.newFile("new.tflite"), overwrite = true).renameTo(file)
            Screen.open<TaskActivity>(Uri.fromFile(file)).use { screen ->
                screen.awaitModel()
                assertEquals(title, screen.text(R.id.first_title))
            }
        }
    }

    @Test
    fun `work goes on while the phone is turned`() = open("span").use { screen ->
        screen.write(R.id.second, screen.text(R.id.second) + " It is cold.".repeat(5_000))
        screen.press(R.id.run)
        assertEquals("Stop", screen.text(R.id.run))
        screen.change("+land")
        screen.await("the answer") { screen.rows().isNotEmpty() }
        assertEquals(listOf("Anna Meyer"), screen.marked())
    }

    @Test
    fun `work can be stopped`() = open("span").use { screen ->
        screen.write(R.id.second, "It is cold. ".repeat(20_000))
        screen.press(R.id.run)
        screen.press(R.id.run)
        assertEquals("Run", screen.text(R.id.run))
        screen.write(R.id.second, "It was built by Lena Berg in 1900.")
        screen.run()
        assertEquals(listOf("Lena Berg"), screen.marked())
    }

    @Test
    fun `no text is no crash`() {
        for (name in listOf("classifier", "span", "encoder")) open(name).use { screen ->
            screen.write(R.id.first, " \n")
            screen.run()
            assertEquals("There is no text. Write some first.", screen.text(R.id.status))
        }
        open("masked_lm").use { screen ->
            screen.write(R.id.first, "Nothing is missing.")
            screen.run()
            assertEquals("no [MASK] in the text to fill", screen.text(R.id.status))
        }
        open("token_classifier").use { screen ->
            screen.write(R.id.first, "")
            screen.press(R.id.run)
            screen.await("a result") { "Nothing found" in screen.texts() }
        }
    }

    @Test
    fun `text that is cut is not cut in silence`() = open("classifier").use { screen ->
        screen.write(R.id.first, "great ".repeat(130))
        screen.run()
        assertTrue("The text is too long for the model: 4 tokens were not read." in screen.texts(), "${screen.texts()}")
    }

    @Test
    fun `a long query, line of a list and question are not cut in silence`() {
        open("encoder").use { screen ->
            screen.write(R.id.first, "meal ".repeat(127))
            screen.write(R.id.second, "meal ".repeat(128) + "\nThe train leaves in the morning.")
            screen.run()
            assertTrue("The text is too long for the model: 3 tokens were not read." in screen.texts(), "${screen.texts()}")
        }
        open("span").use { screen ->
            screen.write(R.id.first, "the ".repeat(22))
            screen.run()
            val note = "The question is too long for the model: its last token was not read."
            assertTrue(note in screen.texts(), "${screen.texts()}") // a sixth of 128 tokens is 21
        }
    }

    @Test
    fun `the menu leads to the benchmark`() = open("encoder").use { screen ->
        val menu = shadowOf(screen.activity).optionsMenu
        assertTrue(menu.findItem(R.id.benchmark).isVisible)
        assertFalse(menu.findItem(R.id.accuracy).isVisible, "only classifiers can be scored")
        for (name in listOf("classifier", "multi_label_classifier")) open(name).use {
            assertTrue(shadowOf(it.activity).optionsMenu.findItem(R.id.accuracy).isVisible, name)
        }
        shadowOf(screen.activity).clickMenuItem(R.id.benchmark)
        val started = shadowOf(screen.activity).nextStartedActivity
        assertEquals(BenchmarkActivity::class.java.name, started.component?.className)
        assertEquals(model("encoder"), started.data)
    }
}
