package mobilebert.demo

import android.content.res.Resources
import mobilebert.InputException
import java.io.FileNotFoundException
import java.io.IOException

/** One line for the user about what went wrong. */
fun Resources.explain(error: Throwable): String = when (error) {
    is InputException -> error.message.orEmpty()
    is OutOfMemoryError -> getString(R.string.error_memory)
    is FileNotFoundException, is SecurityException -> getString(R.string.error_gone)
    is IOException -> getString(R.string.error_reading, error.message ?: error.javaClass.simpleName)
    is UnsatisfiedLinkError -> getString(R.string.error_no_engine)
    else -> getString(R.string.error_unknown, error.message ?: error.javaClass.simpleName)
}
