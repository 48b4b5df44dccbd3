package mobilebert.demo.task

import android.content.res.Resources
import mobilebert.TextModel
import mobilebert.demo.Ticket
import mobilebert.model.Head
import java.text.NumberFormat

/** A field of the screen: what it is for, and the text that it starts with. */
class Field(val title: Int, val example: Int)

/**
 * What the user does with a model: the fields of the screen, and from their texts to a result.
 *
 * @property title of the screen.
 * @property option text of a check box; null for none.
 */
interface TextTask {
    val title: Int
    val first: Field
    val second: Field?
    val option: Int? get() = null

    /**
     * Off the main thread.
     *
     * @param option whether the box is checked.
     * @throws mobilebert.InputException for texts that make no sense to the model.
     */
    fun run(first: String, second: String, option: Boolean, ticket: Ticket): Outcome
}

/** The task of the model's head. */
fun taskOf(model: TextModel, resources: Resources): TextTask = when (model.file.head) {
    Head.CLASSIFIER, Head.NEXT_SENTENCE -> Classify(model, resources)
    Head.MULTI_LABEL_CLASSIFIER -> ClassifyMultiLabel(model, resources)
    Head.REGRESSION -> Rate(model, resources)
    Head.MULTIPLE_CHOICE -> Choose(model, resources)
    Head.TOKEN_CLASSIFIER -> LabelWords(model)
    Head.SPAN -> AnswerQuestion(model, resources)
    Head.MASKED_LM, Head.PRETRAINING -> FillMasks(model)
    Head.ENCODER -> Search(model, resources)
}

/** Such as "94.3 %", as people write it where the phone is used. */
internal fun percent(probability: Number): String =
    NumberFormat.getPercentInstance().apply { minimumFractionDigits = 1; maximumFractionDigits = 1 }.format(probability)

/** With three digits after the point. */
internal fun decimal(value: Number): String =
    NumberFormat.getNumberInstance().apply { maximumFractionDigits = 3; minimumFractionDigits = 3 }.format(value)
