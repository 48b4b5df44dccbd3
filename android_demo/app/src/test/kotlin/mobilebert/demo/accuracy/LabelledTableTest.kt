package mobilebert.demo.accuracy

import org.junit.Test
import kotlin.test.assertEquals

class LabelledTableTest {
    private val labels = listOf("no", "yes")

    @Test
    fun `columns by name, in any order, with Windows line ends and a byte order mark`() {
        val table = LabelledTable.read("\uFEFFid\tlabel\tsentence2\tsentence1\r\n7\tyes\tb \t a\r\n8\t0\td\tc\r\n", labels)
        assertEquals(listOf(Labelled("a", "b", "yes"), Labelled("c", "d", "no")), table.rows)
        assertEquals(0, table.skipped)
    }

    @Test
    fun `a label's own name wins over its number`() {
        val table = LabelledTable.read("text\tlabel\na\t1\n", labels = listOf("1", "0"))
        assertEquals("1", table.rows.single().label)
    }

    @Test
    fun `quotes are text`() {
        assertEquals("\"a\"", LabelledTable.read("text\tlabel\n\"a\"\tno\n", labels).rows.single().text)
    }
}
