package mobilebert.model

import mobilebert.InputException
import java.nio.Buffer
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** How a tensor's numbers are written; [code] as in TFLite's schema, [bytes] of a number. */
enum class NumberFormat(val code: Int, val bytes: Int) {
    FLOAT32(0, 4),
    INT32(2, 4),
    UINT8(3, 1),
    INT16(7, 2),
    INT8(9, 1),
}

/**
 * An input or output of the model's signature.
 *
 * @property name in the signature.
 * @property shape with -1 where any size is taken.
 * @property scale and [zeroPoint] what an integer x stands for: (x - zeroPoint) * scale; 0 if it is no scaled number.
 */
data class TensorInfo(
    val name: String,
    val shape: List<Int>,
    val format: NumberFormat,
    val scale: Float = 0f,
    val zeroPoint: Int = 0,
) {
    /** The numbers of a tensor of this kind, in float. [data] is read from its start to its limit. */
    fun floats(data: ByteBuffer): FloatArray {
        val source = data.duplicate().order(ByteOrder.nativeOrder())
        return when (format) {
            NumberFormat.FLOAT32 -> copied(source)
            NumberFormat.INT32 -> scaled(source) { source.getInt(it) }
            NumberFormat.INT16 -> scaled(source) { source.getShort(it).toInt() }
            NumberFormat.INT8 -> scaled(source) { source.get(it).toInt() }
            NumberFormat.UINT8 -> scaled(source) { source.get(it).toInt() and 0xFF }
        }
    }

    /** All at once: a masked LM has millions. */
    private fun copied(source: ByteBuffer): FloatArray {
        (source as Buffer).rewind() // Android 7 has no rewind of a ByteBuffer's own
        val numbers = source.asFloatBuffer()
        return FloatArray(numbers.remaining()).also { numbers.get(it) }
    }

    /** @param number the one at a place. */
    private inline fun scaled(source: ByteBuffer, number: (Int) -> Int): FloatArray {
        if (scale == 0f) throw InputException("the output $name holds integers without a scale")
        return FloatArray(source.limit() / format.bytes) { (number(it * format.bytes).toFloat() - zeroPoint) * scale }
    }
}
