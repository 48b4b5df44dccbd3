package mobilebert.demo.task

import android.content.res.Resources
import mobilebert.TextModel
import mobilebert.demo.R
import mobilebert.demo.Ticket
import mobilebert.task.AnswerCandidate

/** The answer to a question, marked in the document. */
class AnswerQuestion(private val model: TextModel, private val resources: Resources) : TextTask {
    override val title = R.string.answer
    override val first = Field(R.string.question, R.string.example_question)
    override val second = Field(R.string.document, R.string.example_document)
    override val option = R.string.may_have_no_answer

    override fun run(first: String, second: String, option: Boolean, ticket: Ticket): Outcome {
        val question = resources.written(first)
        val document = resources.written(second)
        val answer = model.answer(question, document, nullThreshold = if (option) 0.0 else null, onWindow = ticket::report)
        val marks = if (answer.text.isEmpty()) emptyList() else listOf(Mark(answer.start, answer.end, 0))
        // The one chosen comes first, whatever the scores: the threshold may decide against the best.
        val ordered = answer.candidates.sortedByDescending { it.text == answer.text }
        return Outcome(ordered.mapIndexed(::row), document, marks, resources.cut(answer.droppedTokens, R.plurals.cut_question))
    }

    private fun row(index: Int, candidate: AnswerCandidate): Row {
        val text = candidate.text.ifEmpty { resources.getString(R.string.no_answer) }
        val kind = if (index == 0 && candidate.text.isNotEmpty()) 0 else null
        return Row(text, percent(candidate.probability), candidate.probability.toFloat(), kind)
    }
}
