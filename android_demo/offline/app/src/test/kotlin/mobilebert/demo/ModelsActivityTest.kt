package mobilebert.demo

import android.app.Activity
import android.content.Intent
import android.view.ViewGroup
import android.widget.Button
import mobilebert.demo.task.TaskActivity
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertTrue

@RunWith(RobolectricTestRunner::class)
class ModelsActivityTest {
    private val included =
        listOf("classifier", "encoder", "masked_lm", "multi_label_classifier", "span", "token_classifier").map { "$it.tflite" }

    private fun Screen<*>.button(text: String) = views().filterIsInstance<Button>().first { it.text == text }

    private fun Screen<*>.models(): List<String> {
        val list = view<ViewGroup>(R.id.models)
        return (0 until list.childCount).map { list.getChildAt(it).findViewById<Button>(R.id.open).text.toString() }
    }

    @Test
    fun `the app's own models are listed and open`() = Screen.open<ModelsActivity>().use { screen ->
        assertEquals(included, screen.models())
        assertFalse(screen.shown(R.id.none))
        screen.save("models")
        screen.button("classifier.tflite").performClick()
        val intent = shadowOf(screen.activity).nextStartedActivity
        assertEquals(TaskActivity::class.java.name, intent.component?.className)
        Screen.open<TaskActivity>(intent.data).use { task ->
            task.awaitModel()
            assertEquals("classifier.tflite", task.text(R.id.model))
        }
    }

    @Test
    fun `a file is picked, remembered and forgotten`() = Screen.open<ModelsActivity>().use { screen ->
        screen.press(R.id.pick)
        val asked = shadowOf(screen.activity).nextStartedActivityForResult
        assertEquals(Intent.ACTION_OPEN_DOCUMENT, asked.intent.action)
        shadowOf(screen.activity).receiveResult(asked.intent, Activity.RESULT_OK, Intent().setData(model("span")))
        assertEquals(model("span"), shadowOf(screen.activity).nextStartedActivity.data)

        Screen.open<ModelsActivity>().use { again ->
            assertEquals(included + "span.tflite", again.models())
            again.views().filterIsInstance<Button>().single { it.isShown && it.text == "Forget" }.performClick()
            assertEquals(included, again.models())
        }
    }

    @Test
    fun `picking nothing changes nothing`() = Screen.open<ModelsActivity>().use { screen ->
        screen.press(R.id.pick)
        val asked = shadowOf(screen.activity).nextStartedActivityForResult
        shadowOf(screen.activity).receiveResult(asked.intent, Activity.RESULT_CANCELED, null)
        assertEquals(asked.intent, shadowOf(screen.activity).nextStartedActivity)
        assertEquals(null, shadowOf(screen.activity).nextStartedActivity)
        assertTrue((RuntimeEnvironment.getApplication() as DemoApplication).store.picked().isEmpty())
    }
}
