package mobilebert.model

import mobilebert.InputException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.zip.DataFormatException
import java.util.zip.Inflater

/**
 * The files in a ZIP that stands behind something else, as it does in a .tflite file.
 *
 * java.util.zip reads files and streams; a model is mapped memory, of which only the few last kilobytes are wanted.
 *
 * @param content is read from its start to its limit.
 * @throws InputException if there is no whole ZIP at the end of it.
 */
internal class ZipEntries(content: ByteBuffer) {
    private class Entry(val method: Int, val packedSize: Int, val size: Int, val place: Int)

    private val content = content.duplicate().order(ByteOrder.LITTLE_ENDIAN)
    private val entries: Map<String, Entry> = damagedIfOutside { directory() }

    val names: Set<String> get() = entries.keys

    /** An entry as UTF-8 text. */
    fun text(name: String): String {
        val entry = entries[name] ?: throw InputException("the file holds no $name: it is $NOT_OURS")
        val packed = damagedIfOutside { packedBytes(entry) }
        val bytes = when (entry.method) {
            STORED -> packed
            DEFLATED -> inflated(packed, entry.size)
            else -> throw InputException("$name in the file is packed in a way that is not supported")
        }
        return bytes.toString(Charsets.UTF_8)
    }

    private fun directory(): Map<String, Entry> {
        val end = directoryEnd()
        var place = content.getInt(end + 16)
        return buildMap {
            repeat(unsigned16(end + 10)) {
                if (content.getInt(place) != CENTRAL) damaged()
                val nameSize = unsigned16(place + 28)
                val entry = Entry(
                    method = unsigned16(place + 10),
                    packedSize = size(content.getInt(place + 20)),
                    size = size(content.getInt(place + 24)),
                    place = content.getInt(place + 42),
                )
                put(bytes(place + 46, nameSize).toString(Charsets.UTF_8), entry)
                place += 46 + nameSize + unsigned16(place + 30) + unsigned16(place + 32)
            }
        }
    }

    /** Where the record stands that ends a ZIP; a comment may follow it. */
    private fun directoryEnd(): Int {
        val last = content.limit() - 22
        for (place in last downTo maxOf(0, last - 0xFFFF)) {
            if (content.getInt(place) == END) return place
        }
        throw InputException("the file holds no vocabulary: it is damaged, or $NOT_OURS")
    }

    private fun packedBytes(entry: Entry): ByteArray {
        if (content.getInt(entry.place) != LOCAL) damaged()
        val start = entry.place + 30 + unsigned16(entry.place + 26) + unsigned16(entry.place + 28)
        return bytes(start, entry.packedSize)
    }

    private fun inflated(packed: ByteArray, size: Int): ByteArray {
        val inflater = Inflater(true)
        try {
            inflater.setInput(packed)
            val bytes = ByteArray(size)
            if (inflater.inflate(bytes) != size) damaged()
            return bytes
        } catch (_: DataFormatException) {
            damaged()
        } finally {
            inflater.end()
        }
    }

    private fun bytes(start: Int, size: Int): ByteArray {
        if (start < 0 || size > content.limit() - start) damaged()
        return ByteArray(size) { content.get(start + it) }
    }

    private fun unsigned16(place: Int): Int = content.getShort(place).toInt() and 0xFFFF

    private fun size(value: Int): Int = if (value in 0..LARGEST) value else damaged()

    private fun <T> damagedIfOutside(read: () -> T): T = try {
        read()
    } catch (_: IndexOutOfBoundsException) {
        damaged()
    }

    private fun damaged(): Nothing = throw InputException("the file is damaged: its vocabulary cannot be read")

    private companion object {
        const val END = 0x06054b50
        const val CENTRAL = 0x02014b50
        const val LOCAL = 0x04034b50
        const val STORED = 0
        const val DEFLATED = 8
        const val LARGEST = 64 shl 20 // bytes of a vocabulary; more is no vocabulary
    }
}
