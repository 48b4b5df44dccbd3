package mobilebert.demo.accuracy

import android.app.Activity
import android.content.Intent
import android.net.Uri
import mobilebert.demo.R
import mobilebert.demo.Screen
import mobilebert.demo.model
import mobilebert.demo.modelWith
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.Shadows.shadowOf
import kotlin.test.assertEquals
import kotlin.test.assertTrue

@RunWith(RobolectricTestRunner::class)
class AccuracyActivityTest {
    @get:Rule
    val folder = TemporaryFolder()

    /** What the screen shows of a table. */
    private fun score(table: ByteArray, picture: String? = null, model: Uri = model("classifier")): List<String> = Screen.open<AccuracyActivity>(model).use { screen ->
        screen.awaitModel()
        screen.press(R.id.run)
        val asked = shadowOf(screen.activity).nextStartedActivityForResult
        val uri = Uri.fromFile(folder.newFile().apply { writeBytes(table) })
        shadowOf(screen.activity).receiveResult(asked.intent, Activity.RESULT_OK, Intent().setData(uri))
        screen.await("a score") { (setOf("Accuracy", "Micro F1") intersect screen.texts().drop(1)).isNotEmpty() && !screen.shown(R.id.progress) || screen.shown(R.id.status) }
        picture?.let(screen::save)
        screen.texts()
    }

    private fun score(table: String, picture: String? = null) = score(table.toByteArray(), picture)

    private fun message(table: String): String = score(table).first { it !in listOf("classifier.tflite", "") }

    @Test
    fun `a table of texts and labels is scored`() {
        val shown = score(
            "text\tlabel\nThe film is great.\tpositive\nThe book is dull.\tnegative\nThe meal is funny.\tnegative\n" +
                "The song is awful.\t0\n\nno label\n${"good ".repeat(200)}\tpositive\n",
            picture = "accuracy",
        )
        assertTrue("negative: 2 of 3" in shown, "$shown")
        assertTrue(shown.any { it.startsWith("positive: ") && it.endsWith(" of 2") }, "$shown")
        assertTrue(shown.any { it.startsWith("Texts: 5. Each took ") }, "$shown")
        assertTrue("1 row was skipped: it has too few or too many fields, or an empty one." in shown, "$shown")
        assertTrue("1 text was cut to 128 tokens." in shown, "$shown")
    }

    @Test
    fun `a table of texts and several labels is scored`() {
        val table = "text\tlabel\nThe parcel came late.\tdelivery\nThe box was broken, and the parcel came late.\tdelivery|damage\n" +
            "The soup was cold.\t\nThe box was broken.\tdelivery | 1\n"
        val shown = score(table.toByteArray(), picture = "accuracy_labels", model = model("multi_label_classifier"))
        assertTrue("delivery: 2 of 3, and 0 wrong" in shown, "$shown")
        assertTrue("damage: 2 of 2, and 0 wrong" in shown, "$shown")
        assertTrue("88.9%" in shown, "2 * 4 / (5 + 4): $shown")
        assertTrue(shown.any { it.startsWith("Texts: 4. Each took ") }, "$shown")
    }

    @Test
    fun `texts are cut to the length of the training, as Python cuts them`() {
        val table = "text\tlabel\nThe film is great. The book is dull, and the end is awful.\tpositive\nThe film is dull.\tnegative\n"
        val shown = score(table.toByteArray(), model = modelWith("\"sequence_length\": 8", folder.root))
        assertTrue("1 text was cut to 8 tokens." in shown, "$shown")
        assertTrue("positive: 1 of 1" in shown, "the end was not read: $shown")
    }

    @Test
    fun `tables that cannot be scored`() {
        assertEquals("line 1 must name the columns text and label, with a tab between: it is [The film is great., positive]", message("The film is great.\tpositive\n"))
        assertEquals("the table has no rows with a text and a label", message("text\tlabel\n\n"))
        assertEquals("line 3: the model has no label so so, it has negative, positive", message("text\tlabel\na\tpositive\nb\tso so\n"))
        assertTrue("The table is not UTF-8 text." in score(byteArrayOf(0x74, 0xC3.toByte(), 0x28)))
    }
}
