package mobilebert.demo.benchmark

import android.content.Context
import android.os.Build
import android.os.PowerManager
import java.io.File

/** The phone that the app runs on. */
class AndroidDevice(context: Context) : Device {
    private val power = context.getSystemService(PowerManager::class.java)
    private val app = context.packageManager.getPackageInfo(context.packageName, 0).versionName.orEmpty()

    override val name get() = "${Build.MANUFACTURER} ${Build.MODEL}, Android ${Build.VERSION.RELEASE}"

    override val cpu: String
        get() = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) "${Build.SOC_MANUFACTURER} ${Build.SOC_MODEL}" else Build.HARDWARE

    override val cores get() = Runtime.getRuntime().availableProcessors()

    override val versions get() = mapOf("mobilebert demo" to app, "android" to Build.VERSION.RELEASE)

    override fun heat(): Heat? =
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) Heat.entries.getOrNull(power.currentThermalStatus) else null

    override fun savesPower() = power.isPowerSaveMode

    override fun memory(): Memory? {
        val status = File("/proc/self/status")
        val lines = if (status.canRead()) status.readLines() else return null
        return Memory(mebibytes(lines, "VmRSS") ?: return null, mebibytes(lines, "VmHWM") ?: return null)
    }

    private fun mebibytes(lines: List<String>, name: String): Double? =
        lines.find { it.startsWith("$name:") }?.filter(Char::isDigit)?.toDoubleOrNull()?.div(KIBIBYTES)

    private companion object {
        const val KIBIBYTES = 1024 // in a mebibyte
    }
}
