package mobilebert.demo.engine

import mobilebert.InputException
import org.tensorflow.lite.Delegate
import org.tensorflow.lite.nnapi.NnApiDelegate
import java.io.Closeable
import java.lang.reflect.InvocationTargetException

/**
 * A part of the interpreter that runs operations elsewhere.
 *
 * Operations that it lacks stay on the CPU; the interpreter does not say how many those are, so [name] does not either.
 */
internal class HardwareDelegate private constructor(val name: String, val delegate: Delegate) : AutoCloseable {
    override fun close() = (delegate as Closeable).close()

    companion object {
        private const val GPU = "org.tensorflow.lite.gpu.GpuDelegate"

        /** @throws InputException if this phone, or the app as it was built, does not have it. */
        fun open(accelerator: Accelerator): HardwareDelegate = try {
            when (accelerator) {
                // By name: an app built without litert-gpu, which doubles its size, does not have the class.
                Accelerator.GPU -> HardwareDelegate("GPU", Class.forName(GPU).getConstructor().newInstance() as Delegate)
                Accelerator.NPU -> HardwareDelegate("NPU by NNAPI", NnApiDelegate())
                Accelerator.CPU -> throw IllegalArgumentException("the CPU needs no delegate")
            }
        } catch (_: ClassNotFoundException) {
            throw InputException("the app is built without it")
        } catch (_: LinkageError) {
            throw InputException("the app is built without its library")
        } catch (error: InvocationTargetException) {
            throw InputException("this phone has no usable one: ${error.targetException.message}")
        } catch (error: RuntimeException) { // of several kinds, by version
            throw InputException("this phone has no usable one: ${error.message}")
        }
    }
}
