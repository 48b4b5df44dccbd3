package mobilebert.demo

import java.util.concurrent.CancellationException
import java.util.concurrent.Executor

/** How far a piece of work is. */
sealed interface Progress<out T> {
    object Idle : Progress<Nothing>

    /** [total] is 0 as long as nobody knows it. */
    data class Running(val done: Int, val total: Int) : Progress<Nothing>

    class Done<T>(val value: T) : Progress<T>

    /** [message] is for the user. */
    class Failed(val message: String) : Progress<Nothing>
}

/** What running work says of itself. */
class Ticket internal constructor(private val clock: () -> Long, private val onReport: (Int, Int) -> Unit) {
    @Volatile
    private var cancelled = false
    private var told: Long? = null

    /**
     * Says how far the work is; as often as you like, for it is told a few times a second only: a screen that is drawn anew
     * would slow the work itself.
     *
     * @throws CancellationException if nobody wants its result any more.
     */
    fun report(done: Int, total: Int) {
        if (cancelled) throw CancellationException()
        val now = clock()
        if (told?.let { now - it < SILENCE } == true) return
        told = now
        onReport(done, total)
    }

    internal fun cancel() {
        cancelled = true
    }

    private companion object {
        const val SILENCE = 250_000_000L // nanoseconds
    }
}

/**
 * Work off the main thread whose result outlives the screen that asked for it.
 *
 * An activity that is turned is made anew; it watches the same work and finds what came of it meanwhile. All functions
 * are for the main thread.
 *
 * @param background runs the work.
 * @param main runs what changes the screen.
 * @param explain a message for the user.
 * @param clock nanoseconds from any start.
 */
class Work<T>(
    private val background: Executor,
    private val main: Executor,
    private val explain: (Throwable) -> String,
    private val clock: () -> Long = System::nanoTime,
) {
    private var watcher: ((Progress<T>) -> Unit)? = null
    private var ticket: Ticket? = null

    var progress: Progress<T> = Progress.Idle
        private set(value) {
            field = value
            watcher?.invoke(value)
        }

    /** Starts it; what was running before is cancelled and its result dropped. */
    fun start(compute: (Ticket) -> T) {
        ticket?.cancel()
        lateinit var mine: Ticket
        fun tell(news: Progress<T>) = main.execute { if (ticket === mine) progress = news }
        mine = Ticket(clock) { done, total -> tell(Progress.Running(done, total)) }
        ticket = mine
        progress = Progress.Running(0, 0)
        background.execute {
            try {
                mine.report(0, 0)
                tell(Progress.Done(compute(mine)))
            } catch (_: CancellationException) {
                // Whoever cancelled it has said so already.
            } catch (error: Throwable) { // OutOfMemoryError and a missing native library are no exceptions
                tell(Progress.Failed(explain(error)))
            }
        }
    }

    /** Forgets work and result. */
    fun cancel() {
        ticket?.cancel()
        ticket = null
        progress = Progress.Idle
    }

    /** Calls [watcher] now and at each change, in place of the one before. */
    fun watch(watcher: (Progress<T>) -> Unit) {
        this.watcher = watcher
        watcher(progress)
    }

    /** Ends the watching, unless somebody else watches meanwhile. */
    fun unwatch(watcher: (Progress<T>) -> Unit) {
        if (this.watcher === watcher) this.watcher = null
    }
}
