/**
 * What tests/device asks of core: a JSON document in, one out.
 *
 *     tokenize                      {"vocabulary", "lower_case", "texts"} -> pieces of each text
 *     generate                      {"count", "seed"} -> texts that nobody would write
 *     run LIBRARY MODEL.tflite      [{"call": "classify", "text": ...}, ...] -> a result for each
 */
package mobilebert.host

import mobilebert.InputException
import mobilebert.TextModel
import mobilebert.json.parseJson
import mobilebert.json.writeJson
import mobilebert.model.ModelFile
import mobilebert.text.ModelInputs
import mobilebert.text.WordPiece
import java.io.File
import java.nio.ByteBuffer
import kotlin.system.exitProcess

fun main(arguments: Array<String>) {
    val request = parseJson(System.`in`.readBytes().toString(Charsets.UTF_8))
    val reply = try {
        when (arguments[0]) {
            "tokenize" -> tokenized(request as Map<*, *>)
            "generate" -> (request as Map<*, *>).let { strangeTexts(it.int("count"), it.int("seed").toLong()) }
            "run" -> results(File(arguments[1]), File(arguments[2]), request as List<*>)
            else -> throw InputException("no command ${arguments[0]}")
        }
    } catch (error: InputException) {
        System.err.println(error.message)
        exitProcess(2)
    }
    System.out.write(writeJson(reply).toByteArray())
    System.out.flush()
}

private fun tokenized(request: Map<*, *>): List<Map<String, Any>> {
    val tokenizer = WordPiece(request.strings("vocabulary"), request["lower_case"] as Boolean)
    return request.strings("texts").map { text ->
        val pieces = tokenizer.tokenize(text)
        mapOf(
            "ids" to pieces.map { it.id },
            "starts" to pieces.map { text.codePointCount(0, it.start) },
            "ends" to pieces.map { text.codePointCount(0, it.end) },
        )
    }
}

private fun results(library: File, path: File, calls: List<*>): List<Any> {
    val file = ModelFile.read(ByteBuffer.wrap(path.readBytes()))
    return TextModel(file, HostEngine(library, path, file)).use { model ->
        calls.map { result(model, it as Map<*, *>) }
    }
}

private fun result(model: TextModel, call: Map<*, *>): Any {
    val text = call["text"] as? String ?: ""
    val pair = call["pair"] as String?
    return when (call["call"]) {
        "run" -> model.run(ModelInputs(call.ints("ids"), call.ints("mask"), call.ints("segment_ids"))).mapValues {
            it.value.values.toList()
        }
        "classify" -> model.classify(text, pair).probabilities.associate { it.label to it.probability }
        "classify labels" -> model.classifyMultiLabel(text, pair).let { found ->
            val probabilities = found.probabilities.associate { it.label to it.probability }
            mapOf("labels" to found.chosen.map { it.label }, "probabilities" to probabilities)
        }
        "score" -> model.score(text, pair).value
        "embed" -> model.embed(text).values.toList()
        "answer" -> model.answer(text, pair!!).let {
            val (start, end) = listOf(it.start, it.end).map { index -> pair.codePointCount(0, index) }
            mapOf("text" to it.text, "start" to start, "end" to end, "probability" to it.probability)
        }
        "label" -> model.labelWords(text).let { listOf(it.words, it.entities) }.map { stretches ->
            stretches.map { mapOf("text" to it.text, "label" to it.label, "probability" to it.probability) }
        }
        "fill" -> model.fillMasks(text).map { mask -> mask.candidates.map { listOf(it.token, it.probability) } }
        else -> throw InputException("no call ${call["call"]}")
    }
}

private fun Map<*, *>.int(name: String): Int = (this[name] as Double).toInt()

private fun Map<*, *>.ints(name: String): IntArray = (this[name] as List<*>).map { (it as Double).toInt() }.toIntArray()

private fun Map<*, *>.strings(name: String): List<String> = (this[name] as List<*>).map { it as String }
