package mobilebert.model

import mobilebert.InputException
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
        return FloatArray(source.limit() / format.bytes) { i ->
            val place = i * format.bytes
            when (format) {
                NumberFormat.FLOAT32 -> source.getFloat(place)
                NumberFormat.INT32 -> scaled(source.getInt(place))
                NumberFormat.INT16 -> scaled(source.getShort(place).toInt())
                NumberFormat.INT8 -> scaled(source.get(place).toInt())
                NumberFormat.UINT8 -> scaled(source.get(place).toInt() and 0xFF)
            }
        }
    }

    private fun scaled(value: Int): Float {
        if (scale == 0f) throw InputException("the output $name holds integers without a scale")
        return (value.toFloat() - zeroPoint) * scale
    }
}
