package mobilebert.model

import mobilebert.InputException
import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * A table of a flatbuffer; a field is read by its number in the schema.
 *
 * @throws IndexOutOfBoundsException for anything that points outside the file.
 */
internal class FlatTable private constructor(private val bytes: ByteBuffer, private val place: Int) {
    private val fields = place - bytes.getInt(place) // of which the first two numbers are sizes
    private val fieldsSize = unsigned16(fields)

    fun int(number: Int, default: Int = 0): Int = field(number)?.let(bytes::getInt) ?: default

    fun byte(number: Int, default: Int = 0): Int = field(number)?.let { bytes.get(it).toInt() } ?: default

    fun text(number: Int): String {
        val start = vector(number) ?: return ""
        return ByteArray(sizeAt(start, 1)) { bytes.get(start + 4 + it) }.toString(Charsets.UTF_8)
    }

    fun table(number: Int): FlatTable? = vector(number)?.let { FlatTable(bytes, it) }

    fun tables(number: Int): List<FlatTable> {
        val start = vector(number) ?: return emptyList()
        return (1..sizeAt(start, 4)).map { FlatTable(bytes, follow(start + 4 * it)) }
    }

    fun ints(number: Int): List<Int> {
        val start = vector(number) ?: return emptyList()
        return (1..sizeAt(start, 4)).map { bytes.getInt(start + 4 * it) }
    }

    fun floats(number: Int): FloatArray {
        val start = vector(number) ?: return FloatArray(0)
        return FloatArray(sizeAt(start, 4)) { bytes.getFloat(start + 4 + 4 * it) }
    }

    fun firstLong(number: Int): Long? = vector(number)?.let { if (sizeAt(it, 8) > 0) bytes.getLong(it + 4) else null }

    /** How many items of [itemBytes] a vector has. They are not read. */
    fun size(number: Int, itemBytes: Int): Int = vector(number)?.let { sizeAt(it, itemBytes) } ?: 0

    private fun field(number: Int): Int? {
        val entry = 4 + 2 * number
        if (entry + 2 > fieldsSize) return null
        val offset = unsigned16(fields + entry)
        return if (offset == 0) null else place + offset
    }

    private fun vector(number: Int): Int? = field(number)?.let(::follow)

    private fun follow(at: Int): Int {
        val target = at.toLong() + bytes.getInt(at)
        checkInside(target)
        return target.toInt()
    }

    /** How many items of [itemBytes] the vector at [start] has; they must lie in the file. */
    private fun sizeAt(start: Int, itemBytes: Int): Int {
        val size = bytes.getInt(start)
        if (size < 0) throw IndexOutOfBoundsException()
        checkInside(start + 4L + size.toLong() * itemBytes - 1)
        return size
    }

    private fun unsigned16(at: Int): Int = bytes.getShort(at).toInt() and 0xFFFF

    private fun checkInside(at: Long) {
        if (at < 0 || at >= bytes.limit()) throw IndexOutOfBoundsException()
    }

    companion object {
        private const val IDENTIFIER = 0x334C4654 // "TFL3"

        /**
         * Reads of a .tflite file's first table, the model, what [read] asks for.
         *
         * @throws InputException if that is no .tflite file, or points outside of itself.
         */
        fun <T> ofModel(content: ByteBuffer, read: (FlatTable) -> T): T {
            val bytes = content.duplicate().order(ByteOrder.LITTLE_ENDIAN)
            if (bytes.limit() < 8 || bytes.getInt(4) != IDENTIFIER) throw InputException("this is no .tflite file")
            return try {
                read(FlatTable(bytes, bytes.getInt(0)))
            } catch (_: IndexOutOfBoundsException) {
                throw InputException("the .tflite file is damaged")
            }
        }
    }
}
