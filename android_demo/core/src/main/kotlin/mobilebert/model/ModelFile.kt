package mobilebert.model

import mobilebert.InputException
import mobilebert.json.JsonException
import mobilebert.json.parseJson
import mobilebert.text.WordPiece
import java.nio.ByteBuffer

/**
 * What a .tflite file made by mobilebert_tf's export says of itself.
 *
 * @property head what the model ends in.
 * @property vocabulary the tokenizer's pieces, in the order of their ids.
 * @property labels a classifier's class names, in the order of its outputs; else empty.
 * @property thresholds for each label of a multi-label classifier the probability from which on a text has it; else empty.
 * @property lowerCase whether the tokenizer lower-cases.
 * @property stripAccents whether it strips accents.
 * @property maxTokens the longest sequence that the model takes.
 * @property sequenceLength tokens that the head was trained on; null if any.
 * @property fixedLength T of a file that takes no other; null if it takes any.
 * @property inputs of its signature, by name: ids, mask, segment_ids.
 * @property outputs of its signature, by name.
 * @property pairs whether the head was trained on pairs of texts; null if the file does not say.
 * @property joiners how the words that it was trained on hold marks ("x-x" for e-mail); none if each mark is a word.
 */
class ModelFile internal constructor(
    val head: Head,
    val vocabulary: List<String>,
    val labels: List<String>,
    val lowerCase: Boolean,
    val stripAccents: Boolean,
    val maxTokens: Int,
    val sequenceLength: Int?,
    val fixedLength: Int?,
    val inputs: Map<String, TensorInfo>,
    val outputs: Map<String, TensorInfo>,
    val thresholds: List<Double> = emptyList(),
    val joiners: List<String> = emptyList(),
    val pairs: Boolean? = null,
) {
    /** The tokenizer that the file brings along. */
    fun tokenizer(): WordPiece = WordPiece(vocabulary, lowerCase, stripAccents)

    companion object {
        /** The names of the signature's inputs. */
        val INPUTS: List<String> = listOf("ids", "mask", "segment_ids")

        /** The model's signature; a file may have others beside it. */
        const val SIGNATURE: String = "serving_default"

        private const val VOCABULARY = "vocab.txt"
        private const val LABELS = "labels.txt"
        private const val SETTINGS = "mobilebert.json"
        private const val USUAL_THRESHOLD = 0.5 // of a file that names none
        private val HAVE_LABELS =
            listOf(Head.CLASSIFIER, Head.MULTI_LABEL_CLASSIFIER, Head.NEXT_SENTENCE, Head.TOKEN_CLASSIFIER)

        /**
         * Reads it from the file's bytes, which may be mapped: only what is asked for is touched.
         *
         * @param content the whole file; neither its position nor its limit is moved.
         * @throws InputException if that is not a whole file of ours.
         */
        fun read(content: ByteBuffer): ModelFile = FlatTable.ofModel(content) { read(it, ZipEntries(content)) }

        private fun read(model: FlatTable, files: ZipEntries): ModelFile {
            val settings = settings(files.text(SETTINGS))
            val head = settings.head()
            val vocabulary = lines(files.text(VOCABULARY))
            Contract(model).check(head, vocabulary.size)
            val signature = TfliteSignature.read(model, SIGNATURE)
            val fixed = signature.fixedLength()
            val labels = if (LABELS in files.names) lines(files.text(LABELS)) else emptyList()
            return ModelFile(
                head = head,
                vocabulary = vocabulary,
                labels = labels,
                lowerCase = settings.flag("do_lower_case"),
                stripAccents = settings.flag("strip_accents", default = "do_lower_case"),
                maxTokens = fixed ?: settings.positive("max_tokens")
                    ?: throw InputException("$SETTINGS in the file has no max_tokens"),
                sequenceLength = settings.positive("sequence_length"),
                fixedLength = fixed,
                inputs = signature.inputs,
                outputs = signature.outputs,
                thresholds = settings.thresholds(head, labels.size),
                joiners = settings.texts("joiners"),
                pairs = settings.flagOrNull("pairs"),
            ).also(::checkLabels)
        }

        private fun checkLabels(file: ModelFile) {
            if (file.head !in HAVE_LABELS) return
            val classes = file.outputs.getValue(file.head.outputs.single()).shape.lastOrNull()
            if (classes != file.labels.size) {
                throw InputException("the file names ${file.labels.size} classes, the model has $classes")
            }
        }

        private fun lines(text: String): List<String> = text.removeSuffix("\n").split("\n")

        private fun settings(text: String): Settings {
            val values = try {
                parseJson(text)
            } catch (error: JsonException) {
                throw InputException("$SETTINGS in the file is damaged: ${error.message}")
            }
            return Settings(values as? Map<*, *> ?: throw InputException("$SETTINGS in the file is no JSON object"))
        }

        private class Settings(private val values: Map<*, *>) {
            fun head(): Head {
                val key = values["kind"]
                return (key as? String)?.let(Head::ofKey)
                    ?: throw InputException("the file has a head of the kind $key, which this version does not know")
            }

            /** The setting, or where the file has none the one that it follows. */
            fun flag(name: String, default: String): Boolean = flag(if (values[name] == null) default else name)

            fun flag(name: String): Boolean =
                values[name] as? Boolean ?: throw InputException("$SETTINGS in the file has no true or false for $name")

            /** Null if it is not given. */
            fun flagOrNull(name: String): Boolean? = if (values[name] == null) null else flag(name)

            /** One for each label of a multi-label classifier. */
            fun thresholds(head: Head, labels: Int): List<Double> {
                val needed = if (head == Head.MULTI_LABEL_CLASSIFIER) labels else 0
                val given = values["thresholds"] ?: return List(needed) { USUAL_THRESHOLD }
                val numbers = (given as? List<*>)?.mapNotNull { number -> (number as? Double)?.takeIf { it in 0.0..1.0 } }
                if (numbers?.size != needed || numbers.size != given.size) {
                    throw InputException("$SETTINGS in the file has $given for thresholds: not $needed numbers from 0 to 1")
                }
                return numbers
            }

            /** None if they are not given. */
            fun texts(name: String): List<String> = when (val value = values[name]) {
                null -> emptyList()
                is List<*> -> value.map { it as? String ?: throw InputException("$SETTINGS in the file has $it in $name") }
                else -> throw InputException("$SETTINGS in the file has $value for $name: not a list")
            }

            /** Null if it is not given. */
            fun positive(name: String): Int? {
                val value = values[name] ?: return null
                val number = (value as? Double)?.toInt()
                if (number == null || number < 1 || number.toDouble() != value) {
                    throw InputException("$SETTINGS in the file has $value for $name: not a whole number from 1")
                }
                return number
            }
        }
    }
}

internal const val NOT_OURS = "not made by mobilebert_tf's export"
