package mobilebert.demo

import android.app.ActivityManager
import mobilebert.demo.benchmark.Device
import mobilebert.demo.benchmark.Heat
import mobilebert.demo.benchmark.Memory
import mobilebert.demo.engine.Accelerator
import mobilebert.demo.engine.EngineFactory
import mobilebert.host.HostEngine
import mobilebert.model.Engine
import mobilebert.model.ModelFile
import mobilebert.model.Tensor
import mobilebert.text.ModelInputs
import org.robolectric.Shadows.shadowOf
import java.io.File
import java.nio.ByteBuffer

/** The app as it is, with LiteRT built for this machine in place of the one built for phones. */
class TestApplication : DemoApplication() {
    override var engines: EngineFactory = HostEngines
    override val device = TestDevice()

    override fun onCreate() {
        super.onCreate()
        freeMemory(bytes = 1L shl 32)
    }

    fun freeMemory(bytes: Long) {
        val info = ActivityManager.MemoryInfo().apply { availMem = bytes }
        shadowOf(getSystemService(ActivityManager::class.java)).setMemoryInfo(info)
    }
}

/** Real models on this machine. */
object HostEngines : EngineFactory {
    override val runtime = "litert on a JVM" to "2.3"

    override fun open(content: ByteBuffer, file: ModelFile, threads: Int, accelerator: Accelerator): Engine {
        val copy = File.createTempFile("model", ".tflite").apply { deleteOnExit() }
        copy.outputStream().channel.use { it.write(content.duplicate()) }
        return HostEngine(File(System.getProperty("litert.library")), copy, file)
    }
}

/** Engines that do what a test wants. */
class ScriptedEngines(
    private val onOpen: () -> Unit = {},
    private val onRun: (ModelInputs) -> Map<String, Tensor> = { emptyMap() },
) : EngineFactory {
    override val runtime = "scripted" to "1"
    var open = 0
        private set

    override fun open(content: ByteBuffer, file: ModelFile, threads: Int, accelerator: Accelerator): Engine {
        onOpen()
        open++
        return object : Engine {
            override val accelerator = "$accelerator, $threads"
            override fun run(inputs: ModelInputs) = onRun(inputs)
            override fun close() {
                open--
            }
        }
    }
}

class TestDevice : Device {
    var heat: Heat? = Heat.NONE
    override val name = "Robolectric, Android 15"
    override val cpu = "a JVM"
    override val cores = 2
    override val versions = mapOf("android" to "15")
    override fun heat() = heat
    override fun savesPower() = false
    override fun memory() = Memory(now = 100.0, peak = 120.0)
}
