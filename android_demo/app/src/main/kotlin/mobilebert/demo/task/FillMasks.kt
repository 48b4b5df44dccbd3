package mobilebert.demo.task

import mobilebert.TextModel
import mobilebert.demo.R
import mobilebert.demo.Ticket

/** Words for each [MASK] of a text; the likeliest ones are put in. */
class FillMasks(private val model: TextModel) : TextTask {
    override val title = R.string.fill_masks
    override val first = Field(R.string.text_with_mask, R.string.example_mask)
    override val second = null

    override fun run(first: String, second: String, option: Boolean, ticket: Ticket): Outcome {
        val filled = StringBuilder()
        val marks = ArrayList<Mark>()
        val rows = ArrayList<Row>()
        var copied = 0
        model.fillMasks(first).forEachIndexed { kind, mask ->
            filled.append(first, copied, mask.start)
            copied = mask.end
            val best = mask.candidates.first().token
            marks += Mark(filled.length, filled.length + best.length, kind)
            filled.append(best)
            mask.candidates.mapTo(rows) { Row(it.token, percent(it.probability), it.probability, kind) }
        }
        filled.append(first, copied, first.length)
        return Outcome(rows, filled.toString(), marks)
    }
}
