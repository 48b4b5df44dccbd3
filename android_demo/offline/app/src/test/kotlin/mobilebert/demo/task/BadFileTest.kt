package mobilebert.demo.task

import android.net.Uri
import mobilebert.InputException
import mobilebert.demo.MODELS
import mobilebert.demo.R
import mobilebert.demo.Screen
import mobilebert.demo.ScriptedEngines
import mobilebert.demo.TestApplication
import mobilebert.demo.engine.LiteRtEngineFactory
import mobilebert.demo.model
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import java.io.File
import java.io.RandomAccessFile
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertTrue

/** Whatever is picked, the screen says in a line what is wrong with it. */
@RunWith(RobolectricTestRunner::class)
class BadFileTest {
    @get:Rule
    val folder = TemporaryFolder()

    private val app get() = RuntimeEnvironment.getApplication() as TestApplication
    private val good = File(MODELS, "classifier.tflite").readBytes()

    private fun file(content: ByteArray): Uri = Uri.fromFile(folder.newFile().apply { writeBytes(content) })

    private fun messageFor(uri: Uri): String = Screen.open<TaskActivity>(uri).use { screen ->
        screen.await("a message") { screen.shown(R.id.status) }
        assertFalse(screen.shown(R.id.run), "there is nothing to run")
        screen.text(R.id.status)
    }

    @Test
    fun `files of other kinds`() {
        val messages = listOf("", "hello", "PK\u0003\u0004 not a model").map { messageFor(file(it.toByteArray())) }
        assertTrue(messages.all { it.isNotBlank() && '\n' !in it }, "$messages")
    }

    @Test
    fun `a file cut short at any place`() {
        for (length in 8 until good.size step good.size / 40) {
            val message = messageFor(file(good.copyOf(length)))
            assertTrue(message.isNotBlank() && '\n' !in message, "cut at $length: $message")
        }
    }

    @Test
    fun `a file that is gone`() {
        val uri = Uri.fromFile(File(folder.root, "none.tflite"))
        assertEquals("The file is gone, or the app may no longer read it. Pick it again.", messageFor(uri))
    }

    @Test
    fun `a model larger than the memory`() {
        app.freeMemory(bytes = 1_000)
        assertEquals("The model has 0 MB, but the phone has only 0 MB of memory free.", messageFor(model("classifier")))
        val sparse = folder.newFile()
        RandomAccessFile(sparse, "rw").use { it.setLength(3_000_000_000) }
        app.freeMemory(bytes = 8_000_000_000)
        assertEquals("The file has 3000 MB: a .tflite file has at most 2147 MB.", messageFor(Uri.fromFile(sparse)))
    }

    @Test
    fun `memory that ends while opening`() {
        app.engines = ScriptedEngines(onOpen = { throw OutOfMemoryError() })
        assertEquals("The phone has not enough memory for this.", messageFor(model("classifier")))
    }

    @Test
    fun `a runtime that refuses the file`() {
        app.engines = ScriptedEngines(onOpen = { throw InputException("this version of LiteRT does not run the file: op 99") })
        assertEquals("this version of LiteRT does not run the file: op 99", messageFor(model("classifier")))
    }

    @Test
    fun `a phone without the engine's library`() {
        app.engines = LiteRtEngineFactory // its library is Android's
        assertEquals("The app has no engine for the processor of this phone.", messageFor(model("classifier")))
    }

    @Test
    fun `an engine that breaks while running`() {
        app.engines = ScriptedEngines(onRun = { throw IllegalStateException("broken") })
        Screen.open<TaskActivity>(model("classifier")).use { screen ->
            screen.awaitModel()
            screen.press(R.id.run)
            screen.await("a message") { screen.shown(R.id.status) }
            assertEquals("That failed: broken", screen.text(R.id.status))
            assertEquals("Run", screen.text(R.id.run))
        }
    }

    @Test
    fun `a good file after a bad one, and engines that are closed`() {
        val engines = ScriptedEngines()
        app.engines = engines
        messageFor(file("hello".toByteArray()))
        for (name in listOf("classifier", "span", "encoder")) Screen.open<TaskActivity>(model(name)).use { screen ->
            screen.awaitModel()
        }
        assertEquals(1, engines.open)
    }

    @Test
    fun `no file at all`() {
        Screen.open<TaskActivity>(uri = null).use { assertTrue(it.activity.isFinishing) }
    }
}
