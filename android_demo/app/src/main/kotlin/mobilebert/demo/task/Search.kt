package mobilebert.demo.task

import android.content.res.Resources
import mobilebert.TextModel
import mobilebert.demo.R
import mobilebert.demo.Ticket
import mobilebert.task.Embedding
import mobilebert.task.EmbeddingIndex

/** The lines of a list that mean what is searched for, best first. */
class Search(private val model: TextModel, private val resources: Resources) : TextTask {
    override val title = R.string.search
    override val first = Field(R.string.query, R.string.example_query)
    override val second = Field(R.string.list, R.string.example_list)

    /** Embeddings of the list's lines as it was the last time: a new query costs one run of the model. */
    private var known = emptyMap<String, Embedding>()

    override fun run(first: String, second: String, option: Boolean, ticket: Ticket): Outcome {
        val query = model.embed(resources.written(first))
        val lines = resources.written(second).lines().filter(String::isNotBlank)
        val embeddings = lines.mapIndexed { index, line ->
            ticket.report(index, lines.size)
            known[line] ?: model.embed(line)
        }
        known = lines.zip(embeddings).toMap()
        val matches = EmbeddingIndex(lines, embeddings.map { it.values }).search(query.values, SHOWN)
        val rows = matches.map { Row(it.text, decimal(it.similarity), it.similarity.coerceIn(0f, 1f)) }
        return Outcome(rows, notes = resources.cut(query.droppedTokens + embeddings.sumOf { it.droppedTokens }))
    }

    private companion object {
        const val SHOWN = 20
    }
}
