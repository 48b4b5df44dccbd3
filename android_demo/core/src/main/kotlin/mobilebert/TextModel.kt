package mobilebert

import mobilebert.model.Engine
import mobilebert.model.Head
import mobilebert.model.ModelFile
import mobilebert.model.Tensor
import mobilebert.task.Answer
import mobilebert.task.Classification
import mobilebert.task.Embedding
import mobilebert.task.FilledMask
import mobilebert.task.LabelProbability
import mobilebert.task.LabelledText
import mobilebert.task.MultiLabelClassification
import mobilebert.task.Score
import mobilebert.task.answer
import mobilebert.task.chosen
import mobilebert.task.labelledText
import mobilebert.task.likeliestTokens
import mobilebert.text.ModelInputs
import mobilebert.text.Packed
import mobilebert.text.WindowSizes
import mobilebert.text.WordPiece
import mobilebert.text.droppedTokens
import mobilebert.text.pack
import mobilebert.text.windows

/**
 * A model file from text to results: tokenizer, engine and what is made of its outputs.
 *
 * One call at a time, for an engine runs one text at a time. [file]'s head says which function there is; the others
 * throw IllegalStateException.
 *
 * @property file what the .tflite file says of itself.
 * @param engine runs it; closed with the model.
 */
class TextModel(val file: ModelFile, private val engine: Engine) : AutoCloseable {
    /** The file's own. */
    val tokenizer: WordPiece = file.tokenizer()

    /** What really runs the model. */
    val accelerator: String get() = engine.accelerator

    /**
     * Runs any inputs of at most [ModelFile.maxTokens] tokens.
     *
     * They are padded for a file of a fixed length, and so are its outputs by token.
     */
    fun run(inputs: ModelInputs): Map<String, Tensor> {
        if (inputs.size > file.maxTokens) {
            throw InputException("${inputs.size} tokens: the model takes at most ${file.maxTokens}")
        }
        return engine.run(inputs.padded(file.fixedLength ?: inputs.size, tokenizer.padId))
    }

    /**
     * The class of a text, or of a text and its [pair].
     *
     * Text that is too long is cut: [Classification.droppedTokens] says so.
     *
     * @param maxTokens read at most.
     * @throws InputException as all functions that take a pair, if there is none and the model was trained on pairs.
     */
    fun classify(text: String, pair: String? = null, maxTokens: Int = file.maxTokens): Classification {
        needs(Head.CLASSIFIER, Head.NEXT_SENTENCE)
        val packed = packed(text, pair, maxTokens)
        return Classification(probabilities(packed), packed.dropped)
    }

    /** The labels of a text, or of a text and its [pair]: any number of them. Otherwise as [classify]. */
    fun classifyMultiLabel(text: String, pair: String? = null, maxTokens: Int = file.maxTokens): MultiLabelClassification {
        needs(Head.MULTI_LABEL_CLASSIFIER)
        val packed = packed(text, pair, maxTokens)
        val probabilities = probabilities(packed)
        return MultiLabelClassification(probabilities, chosen(probabilities, file.thresholds), packed.dropped)
    }

    private fun probabilities(packed: Packed): List<LabelProbability> {
        val row = output(packed.inputs, "probability").values
        return file.labels.mapIndexed { i, label -> LabelProbability(label, row[i]) }
    }

    /** A regression's value for a text, or how good a choice it is. Text that is too long is cut. */
    fun score(text: String, pair: String? = null): Score {
        needs(Head.REGRESSION, Head.MULTIPLE_CHOICE)
        val packed = packed(text, pair)
        return Score(output(packed.inputs, "score").values.single(), packed.dropped)
    }

    /** The text's embedding. Text that is too long is cut. */
    fun embed(text: String): Embedding {
        needs(Head.ENCODER)
        val packed = packed(text, null)
        return Embedding(output(packed.inputs, "embedding").values, packed.dropped)
    }

    /**
     * Answers a question from a document of any length, read in windows. A question longer than a sixth of a window is cut.
     *
     * @param best and [nullThreshold] as in [mobilebert.task.answer].
     * @param onWindow called before each window with its number, from 0, and how many there are; it may throw to stop.
     * @throws InputException if the document holds no text.
     */
    fun answer(
        question: String,
        document: String,
        best: Int = 5,
        nullThreshold: Double? = null,
        onWindow: (Int, Int) -> Unit = { _, _ -> },
    ): Answer {
        needs(Head.SPAN)
        val sizes = windowSizes()
        val windows = tokenizer.windows(document, question, sizes)
        if (windows.isEmpty()) throw InputException("the document holds no text to answer from")
        val outputs = windows.mapIndexed { index, window ->
            onWindow(index, windows.size)
            run(window.inputs)
        }
        val (starts, ends) = listOf("start_logits", "end_logits").map { name -> outputs.map { named(it, name).values } }
        return answer(document, windows, starts, ends, best, nullThreshold = nullThreshold)
            .copy(droppedTokens = tokenizer.droppedTokens(question, sizes))
    }

    /**
     * The label of each word of a text of any length. What does not fit into the model is read in windows that overlap;
     * each word has the label that it gets where it has the most text on both sides.
     *
     * @param onWindow as in [answer].
     */
    fun labelWords(text: String, onWindow: (Int, Int) -> Unit = { _, _ -> }): LabelledText {
        needs(Head.TOKEN_CLASSIFIER)
        val windows = tokenizer.windows(text, question = null, WindowSizes(file.maxTokens))
        val labelled = windows.flatMapIndexed { index, window ->
            onWindow(index, windows.size)
            val output = output(window.inputs, "token_probability")
            window.pieces.indices.filter { window.owned[it] }.map { i ->
                Triple(window.first + i, window.pieces[i], output.row(window.offset + i))
            }
        }.sortedBy { (place, _, _) -> place }
        val (pieces, rows) = labelled.map { it.second } to labelled.map { it.third }
        return labelledText(text, tokenizer, pieces, rows, file.labels, file.joiners)
    }

    /**
     * What may stand for each [MASK] of a text.
     *
     * @param top candidates for each.
     * @throws InputException if the text has no [MASK], or is too long.
     */
    fun fillMasks(text: String, top: Int = 5): List<FilledMask> {
        needs(Head.MASKED_LM, Head.PRETRAINING)
        val packed = tokenizer.pack(text, specialTokens = true)
        if (packed.inputs.size > file.maxTokens) {
            val size = packed.inputs.size
            throw InputException("the text is too long: $size tokens, the model takes ${file.maxTokens}")
        }
        val masks = packed.pieces.withIndex().filter { (_, piece) -> piece.id == tokenizer.maskId }
        if (masks.isEmpty()) throw InputException("no [MASK] in the text to fill")
        val output = output(packed.inputs, "mlm_logits")
        return masks.map { (i, piece) ->
            FilledMask(piece.start, piece.end, likeliestTokens(output.row(i + 1), tokenizer.vocabulary, top))
        }
    }

    override fun close() = engine.close()

    private fun packed(text: String, pair: String?, maxTokens: Int = file.maxTokens): Packed {
        if (file.pairs == true && pair == null) {
            throw InputException("the model was trained on pairs of texts: give the second text")
        }
        return tokenizer.pack(text, pair, maxTokens)
    }

    private fun windowSizes() = WindowSizes(minOf(file.sequenceLength ?: USUAL_WINDOW, file.maxTokens))

    private fun output(inputs: ModelInputs, name: String): Tensor = named(run(inputs), name)

    private fun named(outputs: Map<String, Tensor>, name: String): Tensor =
        outputs[name] ?: throw InputException("the model gave no $name")

    private fun needs(vararg heads: Head) = check(file.head in heads) { "the model is a ${file.head.key}" }

    private companion object {
        const val USUAL_WINDOW = 384 // tokens; Google's for SQuAD
    }
}
