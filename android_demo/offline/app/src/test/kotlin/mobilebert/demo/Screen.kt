package mobilebert.demo

import android.app.Activity
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.Canvas
import android.net.Uri
import android.view.View
import android.view.ViewGroup
import android.widget.TextView
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import java.io.File
import kotlin.test.assertTrue

/** Where what is made for the tests lies, and what they leave. */
val BUILD = File(System.getProperty("offline.build"))

/** The folder with one exported model for each head. */
val MODELS = File(BUILD, "models")

fun model(name: String): Uri = Uri.fromFile(File(MODELS, "$name.tflite"))

/** A copy of the classifier in [folder], with a setting in its file that it does not have. */
fun modelWith(setting: String, folder: File): Uri {
    val old = "\"sequence_length\": null" // of the same length: nothing moves
    val content = File(MODELS, "classifier.tflite").readText(Charsets.ISO_8859_1)
    check(old in content && setting.length <= old.length)
    val file = File(folder, "changed.tflite")
    file.writeText(content.replace(old, setting.padEnd(old.length)), Charsets.ISO_8859_1)
    return Uri.fromFile(file)
}

/** A screen as a user sees it. */
class Screen<A : Activity>(val controller: ActivityController<A>) : AutoCloseable {
    val activity: A get() = controller.get()

    fun <V : View> view(id: Int): V = activity.findViewById(id)

    fun text(id: Int): String = view<TextView>(id).text.toString()

    fun shown(id: Int): Boolean = view<View>(id).isShown

    fun write(id: Int, text: String) = view<TextView>(id).setText(text)

    fun press(id: Int) {
        val button = view<View>(id)
        assertTrue(button.isShown && button.isEnabled, "the button cannot be pressed")
        button.performClick()
    }

    /** Waits for work in the background to show. */
    fun await(what: String, condition: () -> Boolean) {
        val end = System.nanoTime() + LONGEST_WAIT
        while (!condition()) {
            assertTrue(System.nanoTime() < end, "$what: waited in vain; the screen says ${texts()}")
            Thread.sleep(5)
            shadowOf(activity.mainLooper).idle()
        }
    }

    /** Waits for the model to be open. */
    fun awaitModel() {
        await("opening") { shown(R.id.run) || shown(R.id.status) }
        assertTrue(shown(R.id.run), "the screen says ${texts()}")
    }

    /** All text that is shown, from top to bottom. */
    fun texts(): List<String> = views().filterIsInstance<TextView>().filter { it.isShown }.map { it.text.toString() }

    fun views(): List<View> = descendants(activity.window.decorView)

    /** Turns the phone, or changes whatever else the qualifiers say. */
    fun change(qualifiers: String) {
        RuntimeEnvironment.setQualifiers(qualifiers)
        controller.configurationChange()
    }

    /** Draws the window into a PNG file. */
    fun save(name: String) {
        shadowOf(activity.mainLooper).idle()
        val window = activity.window.decorView
        val picture = Bitmap.createBitmap(window.width, window.height, Bitmap.Config.ARGB_8888)
        window.draw(Canvas(picture))
        val file = File(BUILD, "screenshots/$name.png")
        file.parentFile.mkdirs()
        file.outputStream().use { picture.compress(Bitmap.CompressFormat.PNG, 100, it) }
    }

    override fun close() {
        controller.pause().stop().destroy()
    }

    companion object {
        private const val LONGEST_WAIT = 20_000_000_000 // nanoseconds

        inline fun <reified A : Activity> open(uri: Uri? = null): Screen<A> {
            val intent = Intent(RuntimeEnvironment.getApplication(), A::class.java).setData(uri)
            return Screen(Robolectric.buildActivity(A::class.java, intent).setup())
        }

        private fun descendants(view: View): List<View> =
            listOf(view) + if (view is ViewGroup) (0 until view.childCount).flatMap { descendants(view.getChildAt(it)) } else emptyList()
    }
}
