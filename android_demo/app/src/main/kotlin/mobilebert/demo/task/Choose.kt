package mobilebert.demo.task

import android.content.res.Resources
import mobilebert.TextModel
import mobilebert.demo.R
import mobilebert.demo.Ticket
import mobilebert.task.softmax

/** The best of several continuations, or answers. */
class Choose(private val model: TextModel, private val resources: Resources) : TextTask {
    override val title = R.string.choose
    override val first = Field(R.string.question, R.string.example_question)
    override val second = Field(R.string.choices, R.string.example_choices)

    override fun run(first: String, second: String, option: Boolean, ticket: Ticket): Outcome {
        val question = resources.written(first)
        val choices = resources.written(second).lines().filter(String::isNotBlank)
        val scores = choices.mapIndexed { index, choice ->
            ticket.report(index, choices.size)
            model.score(question, choice)
        }
        val probabilities = softmax(FloatArray(scores.size) { scores[it].value })
        val rows = choices.indices.sortedByDescending { probabilities[it] }
            .map { Row(choices[it], percent(probabilities[it]), probabilities[it]) }
        return Outcome(rows, notes = resources.cut(scores.sumOf { it.droppedTokens }))
    }
}
