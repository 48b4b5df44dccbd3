package mobilebert.demo.model

import android.content.res.Resources
import android.net.Uri
import mobilebert.TextModel
import mobilebert.demo.Progress
import mobilebert.demo.Work
import mobilebert.demo.accuracy.Accuracy
import mobilebert.demo.benchmark.BenchmarkResult
import mobilebert.demo.engine.Accelerator
import mobilebert.demo.engine.EngineFactory
import mobilebert.demo.explain
import mobilebert.demo.task.Outcome
import mobilebert.demo.task.TextTask
import mobilebert.demo.task.taskOf
import mobilebert.model.ModelFile
import java.nio.ByteBuffer
import java.util.concurrent.Executor
import java.util.concurrent.atomic.AtomicBoolean

/** A model that is ready to run. */
class OpenModel(val source: ModelSource, val content: ByteBuffer, val model: TextModel, val task: TextTask)

/**
 * The model that the app has open, and the work with it. It outlives the screens, which are made anew when the phone is
 * turned. For the main thread.
 */
class Session(
    private val store: ModelStore,
    private val engines: EngineFactory,
    private val resources: Resources,
    private val background: Executor,
    private val main: Executor,
) {
    val opening: Work<OpenModel> = work()
    val outcome: Work<Outcome> = work()
    val benchmark: Work<BenchmarkResult> = work()

    /** Whether the benchmark's screen was left since it began to measure. */
    val benchmarkLeft = AtomicBoolean()
    val accuracy: Work<Accuracy> = work()
    val saving: Work<Unit> = work()

    private var uri: Uri? = null
    private var open: OpenModel? = null // the background thread's own

    /** The open model, if there is one. */
    val model: OpenModel? get() = (opening.progress as? Progress.Done)?.value

    /** Opens a model in place of the one before; the one that is open, or being opened, stays as it is. */
    fun open(uri: Uri) {
        if (uri == this.uri && opening.progress !is Progress.Failed) return
        this.uri = uri
        for (work in listOf(outcome, benchmark, accuracy, saving)) work.cancel()
        opening.start {
            open?.model?.close()
            open = null
            read(store.source(uri)).also { open = it }
        }
    }

    /** Has the next [open] read the file again though it is the same: another may have been exported under its name. */
    fun renew() {
        uri = null
    }

    private fun read(source: ModelSource): OpenModel {
        val content = store.map(source)
        val file = ModelFile.read(content)
        val model = TextModel(file, engines.open(content, file, THREADS, Accelerator.CPU))
        return OpenModel(source, content, model, taskOf(model, resources))
    }

    private fun <T> work() = Work<T>(background, main, resources::explain)

    private companion object {
        const val THREADS = 2 // the benchmark shows whether more are faster on a phone
    }
}
