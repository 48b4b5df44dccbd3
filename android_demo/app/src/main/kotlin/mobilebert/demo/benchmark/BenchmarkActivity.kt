package mobilebert.demo.benchmark

import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.widget.ArrayAdapter
import android.widget.Button
import android.widget.CheckBox
import android.widget.EditText
import android.widget.Spinner
import android.widget.TextView
import mobilebert.InputException
import mobilebert.benchmark.BenchmarkReport
import mobilebert.demo.ModelActivity
import mobilebert.demo.Progress
import mobilebert.demo.R
import mobilebert.demo.app
import mobilebert.demo.engine.Accelerator
import mobilebert.demo.model.OpenModel
import java.io.FileNotFoundException
import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import java.util.TimeZone

/** How fast a model runs on this phone. */
class BenchmarkActivity : ModelActivity(R.layout.benchmark) {
    private val accelerator: Spinner get() = findViewById(R.id.accelerator)

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        accelerator.adapter = ArrayAdapter(this, android.R.layout.simple_spinner_dropdown_item, Accelerator.entries)
        val view = BenchmarkView(findViewById(R.id.result))
        bind(findViewById(R.id.run), R.string.run, session.benchmark, ::start, view::show)
        findViewById<Button>(R.id.save).setOnClickListener { startActivityForResult(newFile(), SAVE) }
        findViewById<Button>(R.id.share).setOnClickListener { report()?.let(::share) }
        watch(session.saving) { progress ->
            if (progress is Progress.Failed) say(progress.message)
            if (progress is Progress.Done) say(getString(R.string.saved))
        }
    }

    override fun onStop() {
        if (!isChangingConfigurations) session.benchmarkLeft.set(true)
        super.onStop()
    }

    override fun onModel(open: OpenModel) {
        findViewById<TextView>(R.id.model).text = open.source.name
        val lengths = findViewById<EditText>(R.id.lengths)
        if (fresh && lengths.text.isEmpty()) {
            val longest = open.model.file.maxTokens
            lengths.setText(LENGTHS.filter { it <= longest }.ifEmpty { listOf(longest) }.joinToString())
        }
    }

    private fun start(open: OpenModel) {
        val settings = try {
            settings(open)
        } catch (error: InputException) {
            return say(error.message)
        }
        session.saving.cancel()
        session.benchmarkLeft.set(false)
        val runner = BenchmarkRunner(app.engines, app.device, ::utc, session.benchmarkLeft::get)
        session.benchmark.start { runner.run(Subject(open.source.name, open.content, open.model.file), settings, it) }
    }

    private fun settings(open: OpenModel) = BenchmarkSettings.of(
        open.model.file,
        lengths = findViewById<EditText>(R.id.lengths).text.toString(),
        threads = THREADS.filter { (_, box) -> findViewById<CheckBox>(box).isChecked }.map { (count, _) -> count },
        runs = findViewById<EditText>(R.id.runs).text.toString(),
        accelerator = accelerator.selectedItem as Accelerator,
    )

    private fun report() = (session.benchmark.progress as? Progress.Done)?.value?.report

    private fun newFile() = Intent(Intent.ACTION_CREATE_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE)
        .setType("application/json").putExtra(Intent.EXTRA_TITLE, "benchmark.json")

    private fun share(report: BenchmarkReport) {
        val send = Intent(Intent.ACTION_SEND).setType("text/plain")
            .putExtra(Intent.EXTRA_SUBJECT, getString(R.string.benchmark_of, report.files.single().file, report.device))
            .putExtra(Intent.EXTRA_TEXT, report.toJson())
        startActivity(Intent.createChooser(send, getString(R.string.share)))
    }

    @Deprecated("The framework's only way to get a result; androidx would be needed for another.")
    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        super.onActivityResult(request, result, data)
        val uri = data?.data
        if (request == SAVE && result == RESULT_OK && uri != null) save(uri)
    }

    private fun save(uri: Uri) {
        val json = report()?.toJson() ?: return
        val resolver = app.contentResolver
        session.saving.start {
            val stream = resolver.openOutputStream(uri, "wt") ?: throw FileNotFoundException()
            stream.use { it.write(json.toByteArray()) }
        }
    }

    private companion object {
        const val SAVE = 1
        val THREADS = mapOf(1 to R.id.threads_1, 2 to R.id.threads_2, 3 to R.id.threads_3, 4 to R.id.threads_4)
        val LENGTHS = listOf(16, 32, 64, 128)

        fun utc(): String = SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss'+00:00'", Locale.ROOT)
            .apply { timeZone = TimeZone.getTimeZone("UTC") }
            .format(Date())
    }
}
