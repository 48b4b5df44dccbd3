package mobilebert.demo.benchmark

import android.app.Activity
import android.content.Intent
import android.net.Uri
import android.view.View
import android.widget.CheckBox
import android.widget.Spinner
import android.widget.TableLayout
import mobilebert.demo.BUILD
import mobilebert.demo.Progress
import mobilebert.demo.R
import mobilebert.demo.Screen
import mobilebert.demo.ScriptedEngines
import mobilebert.demo.TestApplication
import mobilebert.demo.engine.Accelerator
import mobilebert.demo.model
import mobilebert.json.parseJson
import mobilebert.model.Tensor
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import java.io.ByteArrayOutputStream
import java.io.File
import java.util.concurrent.CountDownLatch
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertIs
import kotlin.test.assertTrue

@RunWith(RobolectricTestRunner::class)
class BenchmarkActivityTest {
    private val app get() = RuntimeEnvironment.getApplication() as TestApplication

    private fun open(name: String = "classifier"): Screen<BenchmarkActivity> =
        Screen.open<BenchmarkActivity>(model(name)).also { it.awaitModel() }

    private fun Screen<*>.measure() {
        press(R.id.run)
        await("figures") { shown(R.id.result) || shown(R.id.status) }
    }

    /** Saves the report and reads it back. */
    @Suppress("UNCHECKED_CAST")
    private fun Screen<*>.saved(): Map<String, Any?> {
        val uri = Uri.parse("content://documents/benchmark.json")
        val written = ByteArrayOutputStream()
        shadowOf(app.contentResolver).registerOutputStream(uri, written)
        press(R.id.save)
        val asked = shadowOf(activity).nextStartedActivityForResult
        assertEquals(Intent.ACTION_CREATE_DOCUMENT, asked.intent.action)
        shadowOf(activity).receiveResult(asked.intent, Activity.RESULT_OK, Intent().setData(uri))
        await("saving") { text(R.id.status) == "Saved." }
        File(BUILD, "benchmark.json").writeBytes(written.toByteArray()) // for tests/device, which has Python read it
        return parseJson(written.toString("UTF-8")) as Map<String, Any?>
    }

    @Test
    @Config(qualifiers = "+h1100dp") // so that the picture has all of it
    fun `figures, chart and file`() = open().use { screen ->
        screen.view<CheckBox>(R.id.threads_4).isChecked = true
        screen.measure()
        assertTrue(screen.shown(R.id.chart))
        assertContains(screen.view<LatencyChart>(R.id.chart).contentDescription, "128 tokens, 4 threads: ")
        assertEquals(1 + 4 * 3, screen.view<TableLayout>(R.id.table).childCount)
        assertContains(screen.text(R.id.facts), "Ran on: CPU (LiteRT on a JVM)")
        assertContains(screen.text(R.id.facts), "Thermal state: none before, none after")
        screen.save("benchmark")

        val report = screen.saved()
        assertEquals(setOf("machine", "date", "versions", "files", "latency", "thermal"), report.keys)
        assertEquals("2.3", (report["versions"] as Map<*, *>)["litert on a JVM"])
        val rows = (report["latency"] as List<*>).map { it as Map<*, *> }
        assertEquals(listOf(16.0, 32.0, 64.0, 128.0), rows.map { it["tokens"] }.take(4))
        assertEquals(listOf(1.0, 2.0, 4.0), rows.map { it["threads"] }.distinct())
        for (row in rows) {
            assertEquals(50.0, row["runs"])
            assertTrue(row["min_ms"] as Double <= row["p50_ms"] as Double && row["p50_ms"] as Double <= row["p99_ms"] as Double)
        }
    }

    @Test
    fun `figures are shared as text`() = open().use { screen ->
        screen.measure()
        screen.press(R.id.share)
        val chooser = shadowOf(screen.activity).nextStartedActivity
        @Suppress("DEPRECATION") val send = chooser.getParcelableExtra<Intent>(Intent.EXTRA_INTENT)!!
        assertEquals("Benchmark of classifier.tflite on Robolectric, Android 15", send.getStringExtra(Intent.EXTRA_SUBJECT))
        assertTrue("latency" in parseJson(send.getStringExtra(Intent.EXTRA_TEXT)!!) as Map<*, *>)
    }

    @Test
    fun `figures survive turning the phone`() = open().use { screen ->
        screen.write(R.id.lengths, "8")
        screen.measure()
        screen.change("+land")
        assertEquals("8", screen.text(R.id.lengths))
        assertEquals(3, screen.view<TableLayout>(R.id.table).childCount)
    }

    @Test
    fun `a hot phone is said to be noisy`() = open().use { screen ->
        app.device.heat = Heat.SEVERE
        screen.measure()
        assertContains(screen.text(R.id.verdict), "Noisy: the phone was hot or became warmer")
        assertEquals(true, (screen.saved()["thermal"] as Map<*, *>)["noisy"])
    }

    /** The verdict on a benchmark that waits for [meanwhile], which gives the screen that shows it in the end. */
    private fun verdict(meanwhile: (Screen<BenchmarkActivity>) -> Screen<BenchmarkActivity>): String {
        val gate = CountDownLatch(1)
        val figures = Tensor(listOf(1, 2), floatArrayOf(0.5f, 0.5f))
        app.engines = ScriptedEngines(onRun = { mapOf("probability" to figures).also { gate.await() } })
        val first = open().also { it.press(R.id.run) }
        return meanwhile(first).use { screen ->
            gate.countDown()
            screen.await("figures") { screen.view<View>(R.id.result).visibility == View.VISIBLE }
            val report = assertIs<Progress.Done<BenchmarkResult>>(app.session.benchmark.progress).value.report
            assertEquals("Noisy" in screen.text(R.id.verdict), report.thermal.noisy)
            screen.text(R.id.verdict)
        }
    }

    @Test
    fun `an app that was left while it measured is noisy`() {
        val left = "the app or this screen was left meanwhile"
        assertContains(verdict { it.close().let { open() } }, left)
        assertFalse(left in verdict { it.apply { change("+land") } }, "the phone was turned only")
        assertFalse(left in verdict { it }, "it was left before")
    }

    @Test
    fun `a system that does not know its heat`() = open().use { screen ->
        app.device.heat = null
        screen.measure()
        assertFalse("Thermal" in screen.text(R.id.facts))
        val thermal = screen.saved()["thermal"] as Map<*, *>
        assertEquals(setOf("before", "after", "noisy"), thermal.keys)
        assertEquals(listOf(null, null), listOf(thermal["before"], thermal["after"]))
        assertEquals("Noisy" in screen.text(R.id.verdict), thermal["noisy"])
    }

    @Test
    fun `the accelerator is passed on, and what really ran is shown`() {
        val figures = Tensor(listOf(1, 2), floatArrayOf(0.5f, 0.5f))
        app.engines = ScriptedEngines(onRun = { mapOf("probability" to figures) })
        open().use { screen ->
            screen.view<Spinner>(R.id.accelerator).setSelection(Accelerator.GPU.ordinal)
            screen.measure()
            assertContains(screen.text(R.id.facts), "Ran on: GPU, 1, GPU, 2")
        }
    }

    @Test
    fun `settings that make no sense`() = open().use { screen ->
        for ((lengths, message) in listOf(
            "" to "lengths: give numbers from 1 to 128, such as 16, 32",
            "500" to "lengths: give numbers from 1 to 128, such as 16, 32",
            "0" to "lengths: 0 is no number from 1 to 100000",
        )) {
            screen.write(R.id.lengths, lengths)
            screen.measure()
            assertEquals(message, screen.text(R.id.status))
        }
        screen.write(R.id.lengths, "16")
        screen.write(R.id.runs, "")
        screen.measure()
        assertEquals("runs:  is no number from 1 to 100000", screen.text(R.id.status))
        screen.write(R.id.runs, "5")
        for (box in listOf(R.id.threads_1, R.id.threads_2)) screen.view<CheckBox>(box).isChecked = false
        screen.measure()
        assertEquals("threads: choose at least one number", screen.text(R.id.status))
    }

    @Test
    fun `a length that the model does not take is left out and said`() = open().use { screen ->
        screen.write(R.id.lengths, "16, 512")
        screen.measure()
        assertContains(screen.text(R.id.facts), "Left out, for the model does not take so many tokens: 512")
    }

    @Test
    fun `it can be stopped`() = open().use { screen ->
        screen.write(R.id.runs, "100000")
        screen.press(R.id.run)
        screen.press(R.id.run)
        assertEquals("Run", screen.text(R.id.run))
        assertFalse(screen.shown(R.id.result))
    }

    @Test
    fun `a place that cannot be written`() = open().use { screen ->
        screen.measure()
        screen.press(R.id.save)
        val asked = shadowOf(screen.activity).nextStartedActivityForResult
        shadowOf(screen.activity).receiveResult(asked.intent, Activity.RESULT_OK, Intent().setData(Uri.parse("file:///nowhere/b.json")))
        screen.await("a message") { screen.shown(R.id.status) }
        assertEquals("The file is gone, or the app may no longer read it. Pick it again.", screen.text(R.id.status))
    }
}
