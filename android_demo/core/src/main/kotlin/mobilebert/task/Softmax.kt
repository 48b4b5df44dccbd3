package mobilebert.task

import kotlin.math.exp

/** Probabilities of logits; computed in double, so that no sum depends on the order. */
fun softmax(logits: FloatArray): FloatArray {
    val probabilities = softmax(DoubleArray(logits.size) { logits[it].toDouble() })
    return FloatArray(logits.size) { probabilities[it].toFloat() }
}

/** As above. */
fun softmax(logits: DoubleArray): DoubleArray {
    if (logits.isEmpty()) return logits
    val largest = logits.max()
    val exponentials = DoubleArray(logits.size) { exp(logits[it] - largest) }
    val total = exponentials.sum()
    return DoubleArray(logits.size) { exponentials[it] / total }
}
