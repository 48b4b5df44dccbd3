package mobilebert.demo.accuracy

import mobilebert.InputException
import org.junit.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

class LabelledTableTest {
    private val labels = listOf("no", "yes")

    @Test
    fun `columns by name, in any order, with Windows line ends and a byte order mark`() {
        val table = LabelledTable.read("\uFEFFid\tlabel\tsentence2\tsentence1\r\n7\tyes\tb \t a\r\n8\t0\td\tc\r\n", labels)
        assertEquals(listOf(Labelled("a", "b", setOf("yes")), Labelled("c", "d", setOf("no"))), table.rows)
        assertEquals(0, table.skipped)
    }

    @Test
    fun `a question and a sentence, and a sentence alone`() {
        val pairs = LabelledTable.read("index\tquestion\tsentence\tlabel\n0\tWho?\tShe.\tyes\n", labels)
        assertEquals(Labelled("Who?", "She.", setOf("yes")), pairs.rows.single())
        assertEquals(Labelled("She.", null, setOf("no")), LabelledTable.read("sentence\tlabel\nShe.\t0\n", labels).rows.single())
    }

    @Test
    fun `where labels are numbers themselves, a number is a name`() {
        val stars = listOf("3", "1", "2")
        assertEquals(setOf("1"), LabelledTable.read("text\tlabel\na\t1\n", stars).rows.single().labels)
        val message = assertFailsWith<InputException> { LabelledTable.read("text\tlabel\na\t0\n", stars) }.message
        assertEquals("line 2: the model has no label 0, it has 3, 1, 2", message)
    }

    @Test
    fun `quotes are text`() {
        assertEquals("\"a\"", LabelledTable.read("text\tlabel\n\"a\"\tno\n", labels).rows.single().text)
    }

    @Test
    fun `several labels, one and none`() {
        val table = LabelledTable.read("text\tlabel\na\tyes | no\nb\t\nc\t1|yes\n\tyes\n", labels, severalLabels = true)
        assertEquals(listOf(labels.toSet(), emptySet(), setOf("yes")), table.rows.map { it.labels })
        assertEquals(1, table.skipped)
        val message = assertFailsWith<InputException> { LabelledTable.read("text\tlabel\na\tno||yes\n", labels, severalLabels = true) }.message
        assertEquals("line 2: the model has no label , it has no, yes", message)
    }
}
