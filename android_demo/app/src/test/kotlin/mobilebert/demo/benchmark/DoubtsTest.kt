package mobilebert.demo.benchmark

import mobilebert.benchmark.LatencyRow
import mobilebert.benchmark.LatencyStatistics
import org.junit.Test
import kotlin.test.assertEquals

class DoubtsTest {
    private fun row(vararg milliseconds: Double) = LatencyRow("m", 16, 1, "CPU", LatencyStatistics.of(milliseconds))

    private val steady = listOf(row(1.0, 1.1, 1.0))

    private fun doubts(
        before: Heat? = Heat.NONE,
        after: Heat? = before,
        saves: Boolean = false,
        left: Boolean = false,
        rows: List<LatencyRow> = steady,
    ) = BenchmarkRunner.doubts(before, after, saves, left, rows)

    @Test
    fun `a cool and steady phone is not in doubt`() {
        assertEquals(emptySet(), doubts())
        assertEquals(emptySet(), doubts(before = Heat.LIGHT))
        assertEquals(emptySet(), doubts(before = null))
    }

    @Test
    fun `heat, changing heat, battery saver, an app that was left and scattered times are doubts`() {
        assertEquals(setOf(Doubt.HOT), doubts(before = Heat.MODERATE))
        assertEquals(setOf(Doubt.HOT), doubts(before = Heat.NONE, after = Heat.LIGHT))
        assertEquals(setOf(Doubt.POWER_SAVING), doubts(saves = true))
        assertEquals(setOf(Doubt.LEFT), doubts(left = true))
        assertEquals(setOf(Doubt.UNSTEADY), doubts(rows = steady + row(1.0, 1.0, 5.0)))
    }
}
