package mobilebert.demo.accuracy

import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.widget.TextView
import mobilebert.InputException
import mobilebert.demo.ModelActivity
import mobilebert.demo.R
import mobilebert.demo.app
import mobilebert.demo.model.OpenModel
import mobilebert.demo.pickFile
import mobilebert.demo.task.Outcome
import mobilebert.demo.task.OutcomeView
import mobilebert.demo.task.Row
import mobilebert.demo.task.decimal
import mobilebert.demo.task.percent
import mobilebert.model.Head
import java.io.FileNotFoundException
import java.nio.ByteBuffer
import java.nio.charset.CharacterCodingException

/** Scores a table of labelled texts that the user picks. */
class AccuracyActivity : ModelActivity(R.layout.accuracy) {
    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        val view = OutcomeView(findViewById(R.id.outcome))
        bind(findViewById(R.id.run), R.string.choose_table, session.accuracy, { startActivityForResult(pickFile(), PICK) }) {
            view.show(it?.let(::outcome))
        }
    }

    override fun onModel(open: OpenModel) {
        findViewById<TextView>(R.id.model).text = open.source.name
        val intro = if (severalLabels(open)) R.string.accuracy_intro_labels else R.string.accuracy_intro
        findViewById<TextView>(R.id.intro).setText(intro)
        findViewById<TextView>(R.id.labels).text = getString(R.string.labels_of_model, open.model.file.labels.joinToString())
    }

    @Deprecated("The framework's only way to get a result; androidx would be needed for another.")
    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        super.onActivityResult(request, result, data)
        val uri = data?.data
        if (request == PICK && result == RESULT_OK && uri != null) score(uri)
    }

    private fun score(uri: Uri) {
        val open = session.model ?: return // the system ended the app meanwhile; the user chooses again
        val resolver = app.contentResolver
        val problem = getString(R.string.error_not_text)
        session.accuracy.start { ticket ->
            val content = resolver.openInputStream(uri)?.use { it.readBytes() } ?: throw FileNotFoundException()
            val table = LabelledTable.read(utf8(content, problem), open.model.file.labels, severalLabels(open))
            Accuracy.measure(open.model, table, ticket)
        }
    }

    private fun outcome(accuracy: Accuracy): Outcome {
        val severalLabels = session.model?.let(::severalLabels) ?: false
        val all = row(getString(if (severalLabels) R.string.micro_f1 else R.string.accuracy), accuracy.scores.microF1)
        val labels = accuracy.scores.labels.filter { severalLabels || it.wanted > 0 }.map {
            if (severalLabels) {
                row(getString(R.string.label_f1, it.label, it.right, it.wanted, it.given - it.right), it.f1)
            } else {
                row(getString(R.string.class_accuracy, it.label, it.right, it.wanted), it.right.toDouble() / it.wanted)
            }
        }
        val notes = listOfNotNull(
            getString(R.string.scored, accuracy.texts, decimal(accuracy.millisecondsPerText)),
            quantity(R.plurals.skipped, accuracy.skipped),
            quantity(R.plurals.texts_cut, accuracy.cut, accuracy.longest),
        )
        return Outcome(listOf(all) + labels, notes = notes)
    }

    private fun severalLabels(open: OpenModel) = open.model.file.head == Head.MULTI_LABEL_CLASSIFIER

    private fun row(label: String, fraction: Double) = Row(label, percent(fraction), fraction.toFloat())

    private fun quantity(name: Int, count: Int, vararg more: Any) =
        if (count == 0) null else resources.getQuantityString(name, count, count, *more)

    private companion object {
        const val PICK = 1

        fun utf8(content: ByteArray, problem: String): String = try {
            Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(content)).toString()
        } catch (_: CharacterCodingException) {
            throw InputException(problem)
        }
    }
}
