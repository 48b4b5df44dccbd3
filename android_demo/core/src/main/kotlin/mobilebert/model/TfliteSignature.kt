package mobilebert.model

import mobilebert.InputException
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** The inputs and outputs of a .tflite file's signature, by name. */
internal class TfliteSignature(val inputs: Map<String, TensorInfo>, val outputs: Map<String, TensorInfo>) {
    /** T of a file that takes no other; null if it takes any. */
    fun fixedLength(): Int? {
        for (name in ModelFile.INPUTS) {
            val input = inputs[name] ?: throw InputException("the model has no input $name: it is $NOT_OURS")
            if (input.shape.size != 2 || input.format != NumberFormat.INT32) {
                throw InputException("the model's input $name is not int32 [1,T]: it is $NOT_OURS")
            }
        }
        val length = inputs.getValue("ids").shape[1]
        return if (length < 0) null else length
    }

    companion object {
        /**
         * Reads the signature called [name] from a model's flatbuffer (schema.fbs of TFLite, version 3).
         *
         * @throws InputException if that is no .tflite file, is damaged or has no such signature.
         */
        fun read(content: ByteBuffer, name: String): TfliteSignature {
            val bytes = content.duplicate().order(ByteOrder.LITTLE_ENDIAN)
            if (bytes.limit() < 8 || bytes.getInt(4) != IDENTIFIER) throw InputException("this is no .tflite file")
            return try {
                signature(FlatTable.root(bytes), name)
            } catch (_: IndexOutOfBoundsException) {
                throw InputException("the .tflite file is damaged")
            }
        }

        private fun signature(model: FlatTable, name: String): TfliteSignature {
            val signature = model.tables(SIGNATURES).find { it.text(SIGNATURE_KEY) == name }
                ?: throw InputException("the model has no signature $name: it is $NOT_OURS")
            val graphs = model.tables(SUBGRAPHS)
            graphs.forEach(::checkScales)
            val graph = graphs[signature.int(SIGNATURE_SUBGRAPH, 0)]
            val tensors = graph.tables(TENSORS)
            fun named(field: Int) = signature.tables(field).associate { map ->
                val tensorName = map.text(MAP_NAME)
                tensorName to tensorInfo(tensorName, tensors[map.int(MAP_INDEX, 0)])
            }
            return TfliteSignature(named(SIGNATURE_INPUTS), named(SIGNATURE_OUTPUTS))
        }

        /** The runtime does not: it divides by them, and a phone's app is gone. */
        private fun checkScales(graph: FlatTable) {
            for (tensor in graph.tables(TENSORS)) {
                val scales = tensor.table(TENSOR_QUANTIZATION)?.floats(QUANTIZATION_SCALE) ?: continue
                if (!scales.all { it.isFinite() && it >= 0 }) {
                    throw InputException("the .tflite file is damaged: a scale of its numbers is no number")
                }
            }
        }

        private fun tensorInfo(name: String, tensor: FlatTable): TensorInfo {
            val code = tensor.byte(TENSOR_TYPE, 0)
            val format = NumberFormat.entries.find { it.code == code }
                ?: throw InputException("the model's $name has numbers of a kind ($code) that is not supported")
            val quantization = tensor.table(TENSOR_QUANTIZATION)
            return TensorInfo(
                name = name,
                shape = tensor.ints(TENSOR_SHAPE_SIGNATURE).ifEmpty { tensor.ints(TENSOR_SHAPE) },
                format = format,
                scale = quantization?.floats(QUANTIZATION_SCALE)?.firstOrNull() ?: 0f,
                zeroPoint = quantization?.firstLong(QUANTIZATION_ZERO_POINT)?.toInt() ?: 0,
            )
        }

        private const val IDENTIFIER = 0x334C4654 // "TFL3"

        // Numbers of the fields in the schema's tables.
        private const val SUBGRAPHS = 2
        private const val SIGNATURES = 7
        private const val SIGNATURE_INPUTS = 0
        private const val SIGNATURE_OUTPUTS = 1
        private const val SIGNATURE_KEY = 2
        private const val SIGNATURE_SUBGRAPH = 4
        private const val MAP_NAME = 0
        private const val MAP_INDEX = 1
        private const val TENSORS = 0
        private const val TENSOR_SHAPE = 0
        private const val TENSOR_TYPE = 1
        private const val TENSOR_QUANTIZATION = 4
        private const val TENSOR_SHAPE_SIGNATURE = 7
        private const val QUANTIZATION_SCALE = 2
        private const val QUANTIZATION_ZERO_POINT = 3
    }
}

/**
 * A table of a flatbuffer; a field is read by its number in the schema.
 *
 * @throws IndexOutOfBoundsException for anything that points outside the file.
 */
private class FlatTable(private val bytes: ByteBuffer, private val place: Int) {
    private val fields = place - bytes.getInt(place) // of which the first two numbers are sizes
    private val fieldsSize = unsigned16(fields)

    fun int(number: Int, default: Int): Int = field(number)?.let(bytes::getInt) ?: default

    fun byte(number: Int, default: Int): Int = field(number)?.let { bytes.get(it).toInt() } ?: default

    fun text(number: Int): String {
        val start = vector(number) ?: return ""
        return ByteArray(sizeAt(start, 1)) { bytes.get(start + 4 + it) }.toString(Charsets.UTF_8)
    }

    fun table(number: Int): FlatTable? = vector(number)?.let { FlatTable(bytes, it) }

    fun tables(number: Int): List<FlatTable> {
        val start = vector(number) ?: return emptyList()
        return (1..sizeAt(start, 4)).map { FlatTable(bytes, follow(start + 4 * it)) }
    }

    fun ints(number: Int): List<Int> {
        val start = vector(number) ?: return emptyList()
        return (1..sizeAt(start, 4)).map { bytes.getInt(start + 4 * it) }
    }

    fun floats(number: Int): List<Float> {
        val start = vector(number) ?: return emptyList()
        return (1..sizeAt(start, 4)).map { bytes.getFloat(start + 4 * it) }
    }

    fun firstLong(number: Int): Long? = vector(number)?.let { if (sizeAt(it, 8) > 0) bytes.getLong(it + 4) else null }

    private fun field(number: Int): Int? {
        val entry = 4 + 2 * number
        if (entry + 2 > fieldsSize) return null
        val offset = unsigned16(fields + entry)
        return if (offset == 0) null else place + offset
    }

    private fun vector(number: Int): Int? = field(number)?.let(::follow)

    private fun follow(at: Int): Int {
        val target = at.toLong() + bytes.getInt(at)
        checkInside(target)
        return target.toInt()
    }

    /** How many items of [itemBytes] the vector at [start] has; they must lie in the file. */
    private fun sizeAt(start: Int, itemBytes: Int): Int {
        val size = bytes.getInt(start)
        if (size < 0) throw IndexOutOfBoundsException()
        checkInside(start + 4L + size.toLong() * itemBytes - 1)
        return size
    }

    private fun unsigned16(at: Int): Int = bytes.getShort(at).toInt() and 0xFFFF

    private fun checkInside(at: Long) {
        if (at < 0 || at >= bytes.limit()) throw IndexOutOfBoundsException()
    }

    companion object {
        fun root(bytes: ByteBuffer) = FlatTable(bytes, bytes.getInt(0))
    }
}
