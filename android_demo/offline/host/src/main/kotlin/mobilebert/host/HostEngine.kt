package mobilebert.host

import com.sun.jna.Memory
import com.sun.jna.Native
import com.sun.jna.Pointer
import com.sun.jna.ptr.LongByReference
import com.sun.jna.ptr.PointerByReference
import mobilebert.InputException
import mobilebert.model.Engine
import mobilebert.model.ModelFile
import mobilebert.model.Tensor
import mobilebert.text.ModelInputs
import java.io.File

/**
 * LiteRT's own library on a JVM, so that core is tested with real models: what a phone's `com.google.ai.edge.litert`
 * runs, built for this machine's processor.
 *
 * @param library libLiteRt.so of the Python wheel ai-edge-litert 2.3.
 * @param path the .tflite file that [file] was read from.
 */
class HostEngine(library: File, path: File, private val file: ModelFile) : Engine {
    private val api: LiteRt = Native.load(library.path, LiteRt::class.java)
    private val environment: Pointer
    private val model: Pointer
    private val compiled: Pointer
    private val signature: Long
    private val inputNames: List<String>
    private val outputNames: List<String>
    private val inputTypes: List<Memory>
    private val outputTypes: List<Memory>

    override val accelerator = "CPU (LiteRT on a JVM)"

    init {
        environment = made("environment") { api.LiteRtCreateEnvironment(0, null, it) }
        model = made("model") { api.LiteRtCreateModelFromFile(environment, path.path, it) }
        val options = made("options") { api.LiteRtCreateOptions(it) }
        check(api.LiteRtSetOptionsHardwareAccelerators(options, ON_CPU), "options")
        compiled = made("compiled model") { api.LiteRtCreateCompiledModel(environment, model, options, it) }
        api.LiteRtDestroyOptions(options)
        signature = (0 until count { api.LiteRtGetNumModelSignatures(model, it) }).first { index ->
            text { api.LiteRtGetSignatureKey(signature(index), it) } == ModelFile.SIGNATURE
        }
        val own = signature(signature)
        val inputs = 0 until count { api.LiteRtGetNumSignatureInputs(own, it) }
        val outputs = 0 until count { api.LiteRtGetNumSignatureOutputs(own, it) }
        inputNames = inputs.map { index -> text { api.LiteRtGetSignatureInputName(own, index, it) } }
        outputNames = outputs.map { index -> text { api.LiteRtGetSignatureOutputName(own, index, it) } }
        inputTypes = inputs.map { index -> type { api.LiteRtGetSignatureInputTensorByIndex(own, index, it) } }
        outputTypes = outputs.map { index -> type { api.LiteRtGetSignatureOutputTensorByIndex(own, index, it) } }
    }

    override fun run(inputs: ModelInputs): Map<String, Tensor> {
        val values = mapOf("ids" to inputs.ids, "mask" to inputs.mask, "segment_ids" to inputs.segmentIds)
        if (file.fixedLength == null) resize(inputs.size)
        val buffers = ArrayList<Pointer>()
        try {
            val input = pointers(inputNames.indices.map { inputBuffer(it).also(buffers::add) })
            val output = pointers(outputNames.indices.map { outputBuffer(it).also(buffers::add) })
            inputNames.forEachIndexed { i, name -> write(input.getPointer(POINTER * i), values.getValue(name)) }
            check(
                api.LiteRtRunCompiledModel(
                    compiled, signature, inputNames.size.toLong(), input, outputNames.size.toLong(), output,
                ),
                "run",
            )
            return outputNames.withIndex().associate { (i, name) -> name to read(output.getPointer(POINTER * i), i) }
        } finally {
            buffers.forEach(api::LiteRtDestroyTensorBuffer)
        }
    }

    override fun close() {
        api.LiteRtDestroyCompiledModel(compiled)
        api.LiteRtDestroyModel(model)
        api.LiteRtDestroyEnvironment(environment)
    }

    private fun resize(length: Int) {
        for (i in inputNames.indices) {
            val (index, sizes) = i.toLong() to intArrayOf(1, length)
            check(api.LiteRtCompiledModelResizeInputTensor(compiled, signature, index, sizes, 2), "resize")
            val layout = inputTypes[i].share(LAYOUT_PLACE)
            check(api.LiteRtGetCompiledModelInputTensorLayout(compiled, signature, index, layout), "input's layout")
        }
        val layouts = Memory(LAYOUT * outputNames.size)
        val count = outputNames.size.toLong()
        val status = api.LiteRtGetCompiledModelOutputTensorLayouts(compiled, signature, count, layouts, true)
        check(status, "outputs' layouts")
        for (i in outputNames.indices) {
            outputTypes[i].write(LAYOUT_PLACE, layouts.getByteArray(LAYOUT * i, LAYOUT.toInt()), 0, LAYOUT.toInt())
        }
    }

    private fun inputBuffer(index: Int): Pointer = buffer(inputTypes[index]) {
        api.LiteRtGetCompiledModelInputBufferRequirements(compiled, signature, index.toLong(), it)
    }

    private fun outputBuffer(index: Int): Pointer = buffer(outputTypes[index]) {
        api.LiteRtGetCompiledModelOutputBufferRequirements(compiled, signature, index.toLong(), it)
    }

    private fun buffer(type: Memory, needs: (PointerByReference) -> Int): Pointer {
        val required = made("buffer's size", needs)
        return made("buffer") { api.LiteRtCreateManagedTensorBufferFromRequirements(environment, type, required, it) }
    }

    private fun write(buffer: Pointer, values: IntArray) {
        made("locked buffer") { api.LiteRtLockTensorBuffer(buffer, it, FOR_WRITING) }.write(0, values, 0, values.size)
        check(api.LiteRtUnlockTensorBuffer(buffer), "unlock")
    }

    private fun read(buffer: Pointer, index: Int): Tensor {
        val type = outputTypes[index]
        val rank = type.getInt(LAYOUT_PLACE) and 0x7F
        val shape = type.getIntArray(LAYOUT_PLACE + 4, rank).toList()
        val info = file.outputs.getValue(outputNames[index])
        val bytes = shape.fold(info.format.bytes, Int::times)
        val memory = made("locked buffer") { api.LiteRtLockTensorBuffer(buffer, it, FOR_READING) }
        val floats = info.floats(memory.getByteBuffer(0, bytes.toLong()))
        check(api.LiteRtUnlockTensorBuffer(buffer), "unlock")
        return Tensor(shape, floats)
    }

    private fun signature(index: Long): Pointer = made("signature") { api.LiteRtGetModelSignature(model, index, it) }

    private fun type(tensor: (PointerByReference) -> Int): Memory {
        val type = Memory(LAYOUT_PLACE + LAYOUT).also { it.clear() }
        check(api.LiteRtGetRankedTensorType(made("tensor", tensor), type), "tensor's type")
        return type
    }

    private fun text(call: (PointerByReference) -> Int): String = made("name", call).getString(0)

    private fun count(call: (LongByReference) -> Int): Long =
        LongByReference().also { check(call(it), "count") }.value

    private fun made(what: String, call: (PointerByReference) -> Int): Pointer =
        PointerByReference().also { check(call(it), what) }.value

    private fun check(status: Int, what: String) {
        if (status != 0) throw InputException("LiteRT does not run this file: $what: status $status")
    }

    private fun pointers(values: List<Pointer>): Memory {
        val memory = Memory(POINTER * values.size)
        values.forEachIndexed { i, value -> memory.setPointer(POINTER * i, value) }
        return memory
    }

    private companion object {
        const val ON_CPU = 1
        const val FOR_READING = 0
        const val FOR_WRITING = 1
        const val POINTER = 8L // bytes

        // LiteRtRankedTensorType is an int and a LiteRtLayout: an int of the rank, 8 sizes, 8 strides.
        const val LAYOUT_PLACE = 4L
        const val LAYOUT = 68L
    }
}
