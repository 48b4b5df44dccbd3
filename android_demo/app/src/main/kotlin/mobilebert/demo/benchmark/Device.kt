package mobilebert.demo.benchmark

/** What a measurement depends on. */
interface Device {
    /** Such as "Google Pixel 8, Android 15". */
    val name: String

    /** The processor's name. */
    val cpu: String

    val cores: Int

    /** Of the system and the app, by name. */
    val versions: Map<String, String>

    /** How hot the device is; null where the system does not say. */
    fun heat(): Heat?

    /** Whether the system slows the processor to save the battery. */
    fun savesPower(): Boolean

    /** Memory that this process has now, and the most that it ever had, in MiB; null where the system does not say. */
    fun memory(): Memory?
}

/** The system's words for how hot a device is (PowerManager.THERMAL_STATUS_*), coolest first. */
enum class Heat { NONE, LIGHT, MODERATE, SEVERE, CRITICAL, EMERGENCY, SHUTDOWN }

/** In MiB. */
data class Memory(val now: Double, val peak: Double)
