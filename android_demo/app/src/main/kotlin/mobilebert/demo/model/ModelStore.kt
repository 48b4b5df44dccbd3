package mobilebert.demo.model

import android.app.ActivityManager
import android.content.Context
import android.content.Intent
import android.net.Uri
import android.provider.OpenableColumns
import mobilebert.InputException
import mobilebert.demo.R
import java.io.File
import java.io.FileInputStream
import java.io.FileNotFoundException
import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.util.UUID

/** A model file that can be opened: one of the app's own, or one that the user picked. */
data class ModelSource(val uri: Uri, val name: String)

/** Where the model files are. */
class ModelStore(private val context: Context) {
    private val picked = context.getSharedPreferences("picked", Context.MODE_PRIVATE)

    /** The files in the app's assets, by name. */
    fun included(): List<ModelSource> = context.assets.list("").orEmpty()
        .filter { it.endsWith(SUFFIX) }
        .map { ModelSource(Uri.fromParts(ASSET, it, null), it) }

    /** The files that the user picked, by name. */
    fun picked(): List<ModelSource> =
        picked.all.map { (uri, name) -> ModelSource(Uri.parse(uri), name as String) }.sortedBy { it.name }

    /** Remembers a file that the user picked. */
    fun add(uri: Uri): ModelSource {
        try {
            context.contentResolver.takePersistableUriPermission(uri, Intent.FLAG_GRANT_READ_URI_PERMISSION)
        } catch (_: SecurityException) {
            // Its provider lends it until the app ends; afterwards it has to be picked again.
        }
        return ModelSource(uri, nameOf(uri)).also { picked.edit().putString(uri.toString(), it.name).apply() }
    }

    /** Forgets a picked file; the file itself stays. */
    fun forget(source: ModelSource) = picked.edit().remove(source.uri.toString()).apply()

    /** The source at an address that [included] or [add] gave. */
    fun source(uri: Uri): ModelSource =
        ModelSource(uri, if (uri.scheme == ASSET) uri.schemeSpecificPart else nameOf(uri))

    /**
     * The file's bytes, mapped and not read: the system loads what is used and may drop it again.
     *
     * @throws InputException if the phone has not the memory to run it, or no file can be that large.
     * @throws java.io.IOException if it cannot be read.
     */
    fun map(source: ModelSource): ByteBuffer {
        if (source.uri.scheme == ASSET) return mapAsset(source.uri.schemeSpecificPart)
        val descriptor = context.contentResolver.openFileDescriptor(source.uri, "r") ?: throw FileNotFoundException()
        descriptor.use {
            FileInputStream(it.fileDescriptor).use { stream ->
                // A file in the cloud may come through a pipe, which has no size and cannot be mapped.
                return if (it.statSize >= 0) map(stream.channel, 0, it.statSize) else mapCopy(stream)
            }
        }
    }

    private fun mapAsset(name: String): ByteBuffer {
        val asset = try {
            context.assets.openFd(name)
        } catch (_: FileNotFoundException) { // compressed in an app that was built without noCompress, or not there
            return context.assets.open(name).use(::mapCopy)
        }
        return asset.use { FileInputStream(it.fileDescriptor).use { stream -> map(stream.channel, it.startOffset, it.length) } }
    }

    private fun mapCopy(stream: InputStream): ByteBuffer {
        val copy = File(context.cacheDir, UUID.randomUUID().toString())
        try {
            copy.outputStream().use { stream.copyTo(it) }
            return FileInputStream(copy).use { map(it.channel, 0, copy.length()) }
        } finally {
            copy.delete() // the mapping holds the bytes
        }
    }

    private fun map(channel: FileChannel, start: Long, size: Long): ByteBuffer {
        if (size > LARGEST) {
            throw InputException(context.getString(R.string.error_no_model_so_large, size / MEGABYTE, LARGEST / MEGABYTE))
        }
        val free = freeMemory()
        if (size > free) {
            throw InputException(context.getString(R.string.error_too_large, size / MEGABYTE, free / MEGABYTE))
        }
        return channel.map(FileChannel.MapMode.READ_ONLY, start, size)
    }

    /** Bytes. The native engine cannot be stopped by an exception: if there are too few, the system ends the app. */
    private fun freeMemory(): Long {
        val info = ActivityManager.MemoryInfo()
        context.getSystemService(ActivityManager::class.java).getMemoryInfo(info)
        return info.availMem
    }

    private fun nameOf(uri: Uri): String {
        val name = try {
            context.contentResolver.query(uri, arrayOf(OpenableColumns.DISPLAY_NAME), null, null, null)
                ?.use { if (it.moveToFirst()) it.getString(0) else null }
        } catch (_: SecurityException) {
            null // no longer lent to the app; opening it will say so
        }
        return name ?: uri.lastPathSegment ?: uri.toString()
    }

    private companion object {
        const val ASSET = "asset"
        const val SUFFIX = ".tflite"
        const val LARGEST = Int.MAX_VALUE // bytes of a .tflite file, and of a mapping
        const val MEGABYTE = 1_000_000
    }
}
