package mobilebert.model

/** Numbers of the fields in the tables of TFLite's schema.fbs, version 3. */
internal object TfliteSchema {
    const val MODEL_OPERATOR_CODES = 1
    const val MODEL_GRAPHS = 2
    const val MODEL_BUFFERS = 4
    const val MODEL_SIGNATURES = 7

    const val SIGNATURE_INPUTS = 0
    const val SIGNATURE_OUTPUTS = 1
    const val SIGNATURE_KEY = 2
    const val SIGNATURE_GRAPH = 4
    const val MAP_NAME = 0
    const val MAP_TENSOR = 1

    const val GRAPH_TENSORS = 0
    const val GRAPH_INPUTS = 1
    const val GRAPH_OUTPUTS = 2
    const val GRAPH_OPERATIONS = 3

    const val TENSOR_SHAPE = 0
    const val TENSOR_TYPE = 1
    const val TENSOR_BUFFER = 2
    const val TENSOR_NAME = 3
    const val TENSOR_QUANTIZATION = 4
    const val TENSOR_IS_VARIABLE = 5
    const val TENSOR_SHAPE_SIGNATURE = 7
    const val QUANTIZATION_SCALE = 2
    const val QUANTIZATION_ZERO_POINT = 3
    const val QUANTIZATION_CHANNEL = 6
    const val BUFFER_DATA = 0

    const val OPERATION_CODE = 0
    const val OPERATION_INPUTS = 1
    const val OPERATION_OUTPUTS = 2
    const val OPERATION_OPTIONS = 4
    const val CODE_DEPRECATED = 0
    const val CODE = 3
    const val OPTIONS_OUTPUTS = 0 // of SplitOptions and UnpackOptions
}
