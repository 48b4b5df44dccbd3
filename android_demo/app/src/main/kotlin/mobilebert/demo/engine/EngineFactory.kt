package mobilebert.demo.engine

import mobilebert.model.Engine
import mobilebert.model.ModelFile
import java.nio.ByteBuffer

/** Where a model can be asked to run. */
enum class Accelerator { CPU, GPU, NPU }

/** Makes engines. */
interface EngineFactory {
    /** Name and version of what runs the models, such as "litert" to "1.4.0". */
    val runtime: Pair<String, String>

    /**
     * An engine for a file.
     *
     * [Engine.accelerator] says what really runs it: where the phone, or the app as it was built, cannot use
     * [accelerator] for this file, that is the CPU.
     *
     * @param content the .tflite file, in a direct buffer that stays as it is until the engine is closed.
     * @param threads of the CPU.
     * @throws mobilebert.InputException if the runtime does not take the file.
     */
    fun open(content: ByteBuffer, file: ModelFile, threads: Int, accelerator: Accelerator): Engine
}
