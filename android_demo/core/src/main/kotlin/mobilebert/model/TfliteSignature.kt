package mobilebert.model

import mobilebert.InputException

/** The inputs and outputs of a .tflite file's signature, by name. */
internal class TfliteSignature(val inputs: Map<String, TensorInfo>, val outputs: Map<String, TensorInfo>) {
    /** T of a file that takes no other; null if it takes any. */
    fun fixedLength(): Int? {
        val length = inputs.getValue("ids").shape[1]
        return if (length < 0) null else length
    }

    companion object {
        /** Reads the signature called [name] of a model that keeps the [Contract]. */
        fun read(model: FlatTable, name: String): TfliteSignature {
            val signature = model.tables(TfliteSchema.MODEL_SIGNATURES).first { it.text(TfliteSchema.SIGNATURE_KEY) == name }
            val graph = model.tables(TfliteSchema.MODEL_GRAPHS)[signature.int(TfliteSchema.SIGNATURE_GRAPH)]
            val tensors = graph.tables(TfliteSchema.GRAPH_TENSORS)
            fun named(field: Int) = signature.tables(field).associate { map ->
                val tensorName = map.text(TfliteSchema.MAP_NAME)
                tensorName to tensorInfo(tensorName, tensors[map.int(TfliteSchema.MAP_TENSOR)])
            }
            return TfliteSignature(named(TfliteSchema.SIGNATURE_INPUTS), named(TfliteSchema.SIGNATURE_OUTPUTS))
        }

        private fun tensorInfo(name: String, tensor: FlatTable): TensorInfo {
            val code = tensor.byte(TfliteSchema.TENSOR_TYPE)
            val format = NumberFormat.entries.find { it.code == code }
                ?: throw InputException("the model's $name has numbers of a kind ($code) that is not supported")
            val quantization = tensor.table(TfliteSchema.TENSOR_QUANTIZATION)
            return TensorInfo(
                name = name,
                shape = tensor.ints(TfliteSchema.TENSOR_SHAPE_SIGNATURE).ifEmpty { tensor.ints(TfliteSchema.TENSOR_SHAPE) },
                format = format,
                scale = quantization?.floats(TfliteSchema.QUANTIZATION_SCALE)?.firstOrNull() ?: 0f,
                zeroPoint = quantization?.firstLong(TfliteSchema.QUANTIZATION_ZERO_POINT)?.toInt() ?: 0,
            )
        }
    }
}
