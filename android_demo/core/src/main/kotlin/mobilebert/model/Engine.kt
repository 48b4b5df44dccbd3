package mobilebert.model

import mobilebert.text.ModelInputs

/**
 * Runs a model's numbers: an interpreter of .tflite files.
 *
 * Inputs and outputs are bound by their names in the signature, for a converter may put them in any order.
 */
interface Engine : AutoCloseable {
    /** What really runs the model, for people, such as "CPU, 2 threads". */
    val accelerator: String

    /**
     * Runs one sequence.
     *
     * @param inputs [1,T]; of a file with a fixed length padded to it.
     * @return every output by its name, in float: integers are scaled back ([TensorInfo.floats]).
     * @throws InputException if the runtime does not run the file at this length.
     */
    fun run(inputs: ModelInputs): Map<String, Tensor>
}

/**
 * Numbers [shape], the last dimension fastest.
 */
class Tensor(val shape: List<Int>, val values: FloatArray) {
    init {
        require(values.size == shape.fold(1, Int::times)) { "${values.size} values are not $shape" }
    }

    /** The values at [index] of the second dimension: [1,T,C] -> [C]. */
    fun row(index: Int): FloatArray {
        val size = values.size / shape[1]
        return values.copyOfRange(index * size, (index + 1) * size)
    }
}
