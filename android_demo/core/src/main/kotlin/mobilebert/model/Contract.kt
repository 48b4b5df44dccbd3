package mobilebert.model

import mobilebert.InputException
import java.util.Locale

/**
 * What a .tflite file must be before an interpreter sees it: a damaged or foreign one can crash it, and the app with it.
 *
 * The checks are those of mobilebert_tf/lite/contract.py. They read numbers and names alone, not the weights.
 */
internal class Contract(private val model: FlatTable) {
    private val buffers = model.tables(TfliteSchema.MODEL_BUFFERS)
    private val codes = model.tables(TfliteSchema.MODEL_OPERATOR_CODES)

    /**
     * Checks every graph, the tensors of the signature and the size of the vocabulary.
     *
     * @param pieces of the vocabulary.
     * @throws InputException if an interpreter could crash on the file, or the head needs other tensors.
     * @throws IndexOutOfBoundsException as [FlatTable] does.
     */
    fun check(head: Head, pieces: Int) {
        val graphs = model.tables(TfliteSchema.MODEL_GRAPHS)
        val signatures = model.tables(TfliteSchema.MODEL_SIGNATURES)
        val signature = signatures.find { it.text(TfliteSchema.SIGNATURE_KEY) == ModelFile.SIGNATURE }
            ?: refuse("it has no signature ${ModelFile.SIGNATURE}")
        if (signatures.any { it.int(TfliteSchema.SIGNATURE_GRAPH) !in graphs.indices }) {
            refuse("a signature names a graph that is not there")
        }
        graphs.forEach(::checkGraph)
        val graph = graphs[signature.int(TfliteSchema.SIGNATURE_GRAPH)]
        checkSignature(graph, signature, head)
        if (pieces > longestTable(graph)) {
            refuse("its vocabulary has %,d pieces, more than its tables have rows".format(Locale.ROOT, pieces))
        }
    }

    private fun checkGraph(graph: FlatTable) {
        val (operations, size) = listOf(TfliteSchema.GRAPH_OPERATIONS, TfliteSchema.GRAPH_TENSORS).map { graph.size(it, 4) }
        if (operations !in 1..MOST_OPERATIONS || size !in 1..2 * MOST_OPERATIONS) {
            refuse("a graph has $operations operations and $size tensors")
        }
        val tensors = graph.tables(TfliteSchema.GRAPH_TENSORS)
        tensors.forEach(::checkTensor)
        val known = tensors.indices.filterTo(HashSet()) { isKnown(tensors[it]) }
        known += OPTIONAL
        known += graph.ints(TfliteSchema.GRAPH_INPUTS)
        for (operation in graph.tables(TfliteSchema.GRAPH_OPERATIONS)) {
            checkOperation(operation, tensors.indices, known)
            known += operation.ints(TfliteSchema.OPERATION_OUTPUTS)
        }
    }

    private fun checkTensor(tensor: FlatTable) {
        val shape = tensor.ints(TfliteSchema.TENSOR_SHAPE)
        val buffer = buffers.getOrNull(tensor.int(TfliteSchema.TENSOR_BUFFER))
            ?: refuse("a tensor names a buffer that is not there")
        if (shape.any { it < 0 } || numbers(shape) > MOST_NUMBERS) refuse(tensor, "has the shape $shape")
        val held = buffer.size(TfliteSchema.BUFFER_DATA, 1)
        val bits = BITS[tensor.byte(TfliteSchema.TENSOR_TYPE)]
        if (held > 0 && bits != null && held.toLong() != (numbers(shape) * bits + 7) / 8) {
            refuse(tensor, "does not fill its buffer")
        }
        checkQuantization(tensor, shape)
    }

    /** The runtime divides by scales, unasked. */
    private fun checkQuantization(tensor: FlatTable, shape: List<Int>) {
        val quantization = tensor.table(TfliteSchema.TENSOR_QUANTIZATION) ?: return
        val scales = quantization.floats(TfliteSchema.QUANTIZATION_SCALE)
        if (scales.isEmpty()) return
        if (!scales.all { it.isFinite() && it > 0 }) refuse(tensor, "has a scale that is no positive number")
        val zeros = quantization.size(TfliteSchema.QUANTIZATION_ZERO_POINT, 8)
        val channels = shape.getOrElse(quantization.int(TfliteSchema.QUANTIZATION_CHANNEL)) { 1 }
        if (scales.size !in listOf(1, channels) || zeros !in listOf(0, scales.size)) {
            refuse(tensor, "has ${scales.size} scales and $zeros zero points")
        }
    }

    private fun checkOperation(operation: FlatTable, tensors: IntRange, known: Set<Int>) {
        if (operation.int(TfliteSchema.OPERATION_CODE) !in codes.indices) refuse("an operation is of no kind")
        val inputs = operation.ints(TfliteSchema.OPERATION_INPUTS)
        val outputs = operation.ints(TfliteSchema.OPERATION_OUTPUTS)
        if (!inputs.all { it == OPTIONAL || it in tensors }) refuse("an operation reads a tensor that is not there")
        if (!known.containsAll(inputs)) refuse("an operation reads a tensor before it is written")
        val taken = kind(operation)?.inputs ?: 0..tensors.last + 1
        if (inputs.size !in taken || OPTIONAL in inputs.take(taken.first)) {
            refuse("an operation has too few inputs, or too many")
        }
        if (outputs.isEmpty() || !outputs.all { it in tensors }) refuse("an operation writes a tensor that is not there")
        if (saidOutputs(operation) !in listOf(null, outputs.size)) {
            refuse("an operation with ${outputs.size} outputs says that it has others")
        }
    }

    /** The kind of an operation as the runtime reads it: old files have the old field. Null if no file of ours has it. */
    private fun kind(operation: FlatTable): OperationKind? {
        val code = codes[operation.int(TfliteSchema.OPERATION_CODE)]
        return OperationKind.ofCode(maxOf(code.int(TfliteSchema.CODE), code.byte(TfliteSchema.CODE_DEPRECATED)))
    }

    /** How many outputs an operation says that it has; null if its kind says nothing. XNNPACK believes it. */
    private fun saidOutputs(operation: FlatTable): Int? {
        if (kind(operation) !in SAY_OUTPUTS) return null
        return operation.table(TfliteSchema.OPERATION_OPTIONS)?.int(TfliteSchema.OPTIONS_OUTPUTS) ?: 0
    }

    /** Whether a tensor has a value, if it has any, before the first operation. */
    private fun isKnown(tensor: FlatTable): Boolean =
        buffers[tensor.int(TfliteSchema.TENSOR_BUFFER)].size(TfliteSchema.BUFFER_DATA, 1) > 0 ||
            tensor.byte(TfliteSchema.TENSOR_IS_VARIABLE) != 0 || 0 in tensor.ints(TfliteSchema.TENSOR_SHAPE)

    private fun checkSignature(graph: FlatTable, signature: FlatTable, head: Head) {
        val tensors = graph.tables(TfliteSchema.GRAPH_TENSORS)
        val inputs = entries(signature, TfliteSchema.SIGNATURE_INPUTS)
        val outputs = entries(signature, TfliteSchema.SIGNATURE_OUTPUTS)
        checkEnds(ModelFile.INPUTS, inputs, graph.ints(TfliteSchema.GRAPH_INPUTS), tensors.indices)
        checkEnds(head.outputs, outputs, graph.ints(TfliteSchema.GRAPH_OUTPUTS), tensors.indices)
        for ((name, index) in inputs) {
            val tensor = tensors[index]
            val isInt = tensor.byte(TfliteSchema.TENSOR_TYPE) == NumberFormat.INT32.code
            if (!isInt || tensor.ints(TfliteSchema.TENSOR_SHAPE).size != 2) refuse("$name is not int32 [1, tokens]")
        }
    }

    private fun checkEnds(names: List<String>, entries: Map<String, Int>, ends: List<Int>, tensors: IntRange) {
        if (entries.keys != names.toSet()) {
            val found = entries.keys.sorted().joinToString().ifEmpty { "nothing" }
            refuse("its signature has $found, not ${names.joinToString()}")
        }
        for ((name, index) in entries) if (index !in ends || index !in tensors) refuse("$name is no end of the graph")
    }

    /** The tensors that a signature names. */
    private fun entries(signature: FlatTable, field: Int): Map<String, Int> =
        signature.tables(field).associate { it.text(TfliteSchema.MAP_NAME) to it.int(TfliteSchema.MAP_TENSOR) }

    /** The rows of the longest table that an operation takes rows of. */
    private fun longestTable(graph: FlatTable): Int {
        val tensors = graph.tables(TfliteSchema.GRAPH_TENSORS)
        return graph.tables(TfliteSchema.GRAPH_OPERATIONS)
            .filter { kind(it) in TAKE_ROWS }
            .flatMap { it.ints(TfliteSchema.OPERATION_INPUTS) }
            .maxOfOrNull { tensors[it].ints(TfliteSchema.TENSOR_SHAPE).firstOrNull() ?: 0 } ?: 0
    }

    private companion object {
        const val MOST_OPERATIONS = 20_000 // a model of 24 blocks has 1,500
        const val MOST_NUMBERS = Int.MAX_VALUE.toLong() // of a tensor
        const val OPTIONAL = -1 // an operation's input that is left out
        val TAKE_ROWS = listOf(OperationKind.GATHER, OperationKind.EMBEDDING_LOOKUP)
        val SAY_OUTPUTS = listOf(OperationKind.SPLIT, OperationKind.UNPACK)

        /** Of a number, by the schema's code of its type: FLOAT32, FLOAT16, INT32, INT64, BOOL, INT16, INT8 and INT4. */
        val BITS = mapOf(0 to 32, 1 to 16, 2 to 32, 4 to 64, 6 to 8, 7 to 16, 9 to 8, 17 to 4)

        val CONTROL = Regex("\\p{Cntrl}")

        /** How many a tensor of [shape] has; of too many that they are too many. */
        fun numbers(shape: List<Int>): Long =
            if (0 in shape) 0 else shape.fold(1L) { product, size -> minOf(product * size, MOST_NUMBERS + 1) }

        /** Names are read for this alone: there are thousands. */
        fun refuse(tensor: FlatTable, problem: String): Nothing =
            refuse("the tensor ${tensor.text(TfliteSchema.TENSOR_NAME)} $problem")

        /** In one line, though names in a damaged file hold anything. */
        fun refuse(problem: String): Nothing =
            throw InputException("the file is damaged, or $NOT_OURS: ${problem.replace(CONTROL, "\uFFFD")}")
    }
}

/**
 * The kinds of operation in our files.
 *
 * @property code as in the schema.
 * @property inputs the fewest and the most: BATCH_MATMUL, for one, reads its second unasked.
 */
private enum class OperationKind(val code: Int, val inputs: IntRange) {
    ADD(0, 2..2),
    CONCATENATION(2, 1..1000),
    DEQUANTIZE(6, 1..1),
    EMBEDDING_LOOKUP(7, 2..2),
    FULLY_CONNECTED(9, 2..3),
    LOGISTIC(14, 1..1),
    MUL(18, 2..2),
    RESHAPE(22, 1..2),
    SOFTMAX(25, 1..1),
    TANH(28, 1..1),
    GATHER(36, 2..2),
    TRANSPOSE(39, 2..2),
    MEAN(40, 2..2),
    SUB(41, 2..2),
    STRIDED_SLICE(45, 4..4),
    SPLIT(49, 2..2),
    CAST(53, 1..1),
    MAXIMUM(55, 2..2),
    SLICE(65, 3..3),
    SUM(74, 2..2),
    RSQRT(76, 1..1),
    UNPACK(88, 1..1),
    SQUARED_DIFFERENCE(99, 2..2),
    QUANTIZE(114, 1..1),
    BATCH_MATMUL(126, 2..2),
    CUMSUM(128, 2..2),
    GELU(150, 1..1),
    ;

    companion object {
        private val BY_CODE = entries.associateBy { it.code }

        fun ofCode(code: Int): OperationKind? = BY_CODE[code]
    }
}
