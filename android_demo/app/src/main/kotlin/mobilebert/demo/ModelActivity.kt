package mobilebert.demo

import android.app.Activity
import android.os.Bundle
import android.view.View
import android.widget.Button
import android.widget.ProgressBar
import android.widget.TextView
import mobilebert.demo.model.OpenModel
import mobilebert.demo.model.Session

/**
 * A screen about the model at the intent's address. It opens it, shows how far work is and what failed, and finds
 * both again after the phone was turned.
 *
 * @param layout with a text view `status`, a progress bar `progress` and what is shown of the model, `content`.
 */
abstract class ModelActivity(private val layout: Int) : Activity() {
    protected val session: Session get() = app.session

    /** Whether the user sees this screen for the first time, so that its fields are still to be filled. */
    protected var fresh = true
        private set

    private class Watch<T>(val work: Work<T>, val watcher: (Progress<T>) -> Unit) {
        fun start() = work.watch(watcher)
        fun stop() = work.unwatch(watcher)
    }

    private val watches = ArrayList<Watch<*>>()

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        fresh = state == null
        setContentView(layout)
        if (intent.data == null) return finish() // started with nothing to open
        watch(session.opening) { progress ->
            showProgress(progress)
            val open = (progress as? Progress.Done)?.value
            findViewById<View>(R.id.content).visibility = if (open == null) View.GONE else View.VISIBLE
            if (open != null) onModel(open)
        }
    }

    override fun onStart() {
        super.onStart()
        intent.data?.let(session::open)
        watches.forEach { it.start() }
    }

    override fun onStop() {
        watches.forEach { it.stop() }
        super.onStop()
    }

    /** Back to the screen before, with what was there. */
    override fun onNavigateUp(): Boolean {
        finish()
        return true
    }

    /** The model is open. */
    protected abstract fun onModel(open: OpenModel)

    /** Calls [watcher] with how far [work] is, as long as this screen is seen. */
    protected fun <T> watch(work: Work<T>, watcher: (Progress<T>) -> Unit) {
        watches += Watch(work, watcher)
    }

    /**
     * Ties a button to work with the open model: it starts it, and stops it while it runs.
     *
     * @param onResult called with its result, and with null as long as there is none.
     */
    protected fun <T : Any> bind(button: Button, label: Int, work: Work<T>, start: (OpenModel) -> Unit, onResult: (T?) -> Unit) {
        button.setOnClickListener {
            val open = session.model
            if (work.progress is Progress.Running) work.cancel() else if (open != null) start(open)
        }
        watch(work) { progress ->
            button.setText(if (progress is Progress.Running) R.string.stop else label)
            if (session.model != null) showProgress(progress)
            onResult((progress as? Progress.Done)?.value)
        }
    }

    protected fun showProgress(progress: Progress<*>) {
        val bar = findViewById<ProgressBar>(R.id.progress)
        val running = progress as? Progress.Running
        bar.visibility = if (running == null) View.GONE else View.VISIBLE
        bar.isIndeterminate = running != null && running.total == 0
        bar.max = running?.total ?: 0
        bar.progress = running?.done ?: 0
        say((progress as? Progress.Failed)?.message)
    }

    /** Shows a message; null for none. */
    protected fun say(message: String?) {
        val status = findViewById<TextView>(R.id.status)
        status.text = message
        status.visibility = if (message == null) View.GONE else View.VISIBLE
    }
}
