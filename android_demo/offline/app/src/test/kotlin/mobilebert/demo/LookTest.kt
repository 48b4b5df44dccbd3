package mobilebert.demo

import android.app.Activity
import android.view.View
import android.widget.EditText
import android.widget.ImageView
import android.widget.ProgressBar
import android.widget.TextView
import mobilebert.demo.accuracy.AccuracyActivity
import mobilebert.demo.benchmark.BenchmarkActivity
import mobilebert.demo.task.TaskActivity
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import kotlin.test.assertEquals
import kotlin.test.assertTrue

/** Dark and light, large text, right to left, and what a screen reader and a thumb find. */
@RunWith(RobolectricTestRunner::class)
class LookTest {
    private val screens = listOf<() -> Screen<out Activity>>(
        { Screen.open<ModelsActivity>() },
        { Screen.open<TaskActivity>(model("span")) },
        { Screen.open<BenchmarkActivity>(model("classifier")) },
        { Screen.open<AccuracyActivity>(model("classifier")) },
    )

    private fun eachScreen(check: (Screen<out Activity>) -> Unit) {
        for (open in screens) open().use {
            if (it.activity is ModelActivity) it.awaitModel()
            check(it)
        }
    }

    /** Where the screen's own views are wider than the screen, or text does not fit into its view. */
    private fun spills(screen: Screen<*>): List<String> {
        val width = screen.activity.window.decorView.width
        return screen.views().filter { it.isShown }.filter { view ->
            val place = IntArray(2).also(view::getLocationInWindow)
            val cut = view is TextView && view !is EditText && view.layout != null && view.layout.height > view.height
            place[0] < 0 || place[0] + view.width > width || cut
        }.map { "${it.javaClass.simpleName} ${(it as? TextView)?.text}" }
    }

    @Test
    fun `every field has a label and everything to press can be read out and hit`() = eachScreen { screen ->
        val shown = screen.views().filter { it.isShown && it.id != View.NO_ID }
        val labelled = shown.map { it.labelFor }.toSet()
        for (view in shown) {
            val name = runCatching { view.resources.getResourceName(view.id) }.getOrDefault("")
            if (!name.startsWith("mobilebert.demo")) continue // the system's own
            if (view is EditText) assertTrue(view.id in labelled, "$name has no label")
            if (view is ImageView || view is ProgressBar) {
                assertTrue(view.contentDescription != null || view.importantForAccessibility == View.IMPORTANT_FOR_ACCESSIBILITY_NO, name)
            }
            if (view.isClickable && view !is EditText) {
                val high = view.height / view.resources.displayMetrics.density
                assertTrue(high >= 48 || view.parent is android.widget.HorizontalScrollView, "$name is only $high dp high")
                assertTrue((view as? TextView)?.text?.isNotBlank() ?: true, "$name says nothing")
            }
        }
    }

    @Test
    fun `nothing spills over, with text twice as large, on a small phone`() {
        RuntimeEnvironment.setQualifiers("w320dp-h480dp")
        RuntimeEnvironment.setFontScale(2f)
        eachScreen { screen -> assertEquals(emptyList(), spills(screen), screen.activity.javaClass.simpleName) }
    }

    @Test
    fun `large text`() {
        RuntimeEnvironment.setFontScale(2f)
        task("span", "large_text")
    }

    @Test
    fun `dark`() {
        RuntimeEnvironment.setQualifiers("+night")
        task("token_classifier", "dark")
        eachScreen { assertEquals(emptyList(), spills(it)) }
    }

    @Test
    fun `right to left`() {
        RuntimeEnvironment.setQualifiers("+ar-ldrtl")
        eachScreen { assertEquals(emptyList(), spills(it)) }
        val screen = task("classifier", "right_to_left")
        val (label, value) = listOf(R.id.label, R.id.value).map { id ->
            IntArray(2).also { screen.view<View>(id).getLocationInWindow(it) }[0]
        }
        assertTrue(value < label, "the figures stand to the left of the labels")
    }

    private fun task(name: String, picture: String): Screen<TaskActivity> {
        val screen = Screen.open<TaskActivity>(model(name))
        screen.awaitModel()
        screen.press(R.id.run)
        screen.await("a result") { screen.view<android.view.ViewGroup>(R.id.outcome).childCount > 0 }
        screen.save(picture)
        return screen
    }
}
