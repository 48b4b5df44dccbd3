package mobilebert.demo

import org.junit.Test
import java.util.ArrayDeque
import java.util.concurrent.Executor
import kotlin.test.assertEquals
import kotlin.test.assertIs

class WorkTest {
    private val background = Queue()
    private val main = Queue()
    private var now = 0L // milliseconds
    private val work = Work<String>(background, main, { it.message.orEmpty() }, { now * 1_000_000 })
    private val seen = ArrayList<String>()

    private class Queue : Executor {
        private val tasks = ArrayDeque<Runnable>()
        override fun execute(task: Runnable) = tasks.addLast(task)
        fun run() {
            while (tasks.isNotEmpty()) tasks.removeFirst().run()
        }
    }

    private fun run() {
        background.run()
        main.run()
    }

    init {
        work.watch { progress ->
            seen += when (progress) {
                is Progress.Idle -> "idle"
                is Progress.Running -> "${progress.done}/${progress.total}"
                is Progress.Done -> progress.value
                is Progress.Failed -> "failed: ${progress.message}"
            }
        }
    }

    @Test
    fun `what is reported is seen, and the result`() {
        work.start { ticket ->
            now += 250
            "done".also { ticket.report(1, 2) }
        }
        run()
        assertEquals(listOf("idle", "0/0", "0/0", "1/2", "done"), seen)
    }

    @Test
    fun `it is told four times a second, however often it is reported`() {
        work.start { ticket ->
            for (done in 1..1000) {
                now++
                ticket.report(done, 1000)
            }
            "done"
        }
        run()
        assertEquals(listOf("idle", "0/0", "0/0", "250/1000", "500/1000", "750/1000", "1000/1000", "done"), seen)
    }

    @Test
    fun `errors of any kind are explained`() {
        work.start { throw OutOfMemoryError("no memory") }
        run()
        assertEquals("failed: no memory", seen.last())
    }

    @Test
    fun `new work replaces the old one's result`() {
        work.start { "old" }
        background.run()
        work.start { "new" }
        run()
        assertEquals(false, "old" in seen)
        assertEquals("new", seen.last())
    }

    @Test
    fun `cancelled work ends at its next report and says nothing`() {
        var ended = false
        work.start { ticket ->
            work.cancel()
            ticket.report(1, 2)
            "done".also { ended = true }
        }
        run()
        assertEquals("idle", seen.last())
        assertEquals(false, ended)
    }

    @Test
    fun `a new watcher finds the result`() {
        work.start { "done" }
        run()
        val watcher = { progress: Progress<String> -> assertIs<Progress.Done<String>>(progress); Unit }
        work.watch(watcher)
        work.unwatch(watcher)
    }
}
