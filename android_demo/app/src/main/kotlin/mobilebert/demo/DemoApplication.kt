package mobilebert.demo

import android.app.Activity
import android.app.Application
import android.os.Handler
import android.os.Looper
import mobilebert.demo.benchmark.AndroidDevice
import mobilebert.demo.benchmark.Device
import mobilebert.demo.engine.EngineFactory
import mobilebert.demo.engine.LiteRtEngineFactory
import mobilebert.demo.model.ModelStore
import mobilebert.demo.model.Session
import java.util.concurrent.Executors

/** Holds what outlives the screens. */
open class DemoApplication : Application() {
    val store: ModelStore by lazy { ModelStore(this) }

    /** What runs models; tests have another one. */
    open val engines: EngineFactory = LiteRtEngineFactory

    open val device: Device by lazy { AndroidDevice(this) }

    val session: Session by lazy {
        val handler = Handler(Looper.getMainLooper())
        // One thread, for an engine runs one text at a time.
        val background = Executors.newSingleThreadExecutor { task -> Thread(task, "model") }
        Session(store, engines, resources, background) { handler.post(it) }
    }
}

val Activity.app: DemoApplication get() = application as DemoApplication
