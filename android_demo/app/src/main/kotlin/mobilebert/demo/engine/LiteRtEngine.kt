package mobilebert.demo.engine

import mobilebert.InputException
import mobilebert.model.Engine
import mobilebert.model.ModelFile
import mobilebert.model.Tensor
import mobilebert.text.ModelInputs
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.TensorFlowLite
import java.nio.ByteBuffer

/** LiteRT's interpreter, on the CPU or with a [HardwareDelegate]. */
object LiteRtEngineFactory : EngineFactory {
    override val runtime: Pair<String, String> get() = "litert" to TensorFlowLite.runtimeVersion()

    override fun open(content: ByteBuffer, file: ModelFile, threads: Int, accelerator: Accelerator): Engine {
        if (accelerator == Accelerator.CPU) return LiteRtEngine(content, file, threads, null)
        return try {
            LiteRtEngine(content, file, threads, HardwareDelegate.open(accelerator))
        } catch (error: InputException) { // the CPU runs whatever the accelerator refuses
            LiteRtEngine(content, file, threads, null, refusal = "$accelerator: ${error.message}")
        }
    }
}

/**
 * @param hardware takes the operations that it can run; closed with the engine.
 * @param refusal why an accelerator that was asked for is not used.
 */
private class LiteRtEngine(
    content: ByteBuffer,
    private val file: ModelFile,
    threads: Int,
    private val hardware: HardwareDelegate?,
    refusal: String? = null,
) : Engine {
    override val accelerator: String =
        (hardware?.name ?: if (threads == 1) "CPU, 1 thread" else "CPU, $threads threads") +
            (refusal?.let { " ($it)" } ?: "")

    private val interpreter: Interpreter = refusable(onFailure = { hardware?.close() }) {
        val options = Interpreter.Options().setNumThreads(threads)
        if (hardware != null) options.addDelegate(hardware.delegate)
        Interpreter(content, options).also { opened ->
            try {
                opened.allocateTensors()
            } catch (error: RuntimeException) {
                opened.close()
                throw error
            }
        }
    }

    override fun run(inputs: ModelInputs): Map<String, Tensor> = refusable {
        // Nested arrays, not buffers: from their shape the interpreter takes the length that the inputs are resized to.
        val tokens: Map<String, Any> = mapOf(
            "ids" to arrayOf(inputs.ids),
            "mask" to arrayOf(inputs.mask),
            "segment_ids" to arrayOf(inputs.segmentIds),
        )
        // Nothing is copied out: how long the outputs are is known after the run only.
        interpreter.runSignature(tokens, file.outputs.mapValues { null }, ModelFile.SIGNATURE)
        file.outputs.mapValues { (name, info) ->
            val output = interpreter.getOutputTensorFromSignature(name, ModelFile.SIGNATURE)
            Tensor(output.shape().toList(), info.floats(output.asReadOnlyBuffer()))
        }
    }

    override fun close() {
        interpreter.close()
        hardware?.close()
    }
}

/** The interpreter's refusals, which are exceptions of several kinds, as one of ours. */
private fun <T> refusable(onFailure: () -> Unit = {}, block: () -> T): T = try {
    block()
} catch (error: RuntimeException) {
    onFailure()
    val reason = error.message?.lineSequence()?.firstOrNull().orEmpty()
    throw InputException("this version of LiteRT does not run the file: $reason")
}
