package mobilebert.task

/**
 * A word's part in an entity.
 *
 * @property kind what the entity is called.
 * @property begins whether the word begins it.
 */
data class Tag(val kind: String, val begins: Boolean)

/**
 * How the labels of words mark entities, read from the labels alone; the counterpart of mobilebert_tf/tasks/tags.py.
 *
 * @property name IO, BIO, BIOES, BILOU or BMES; "plain" for labels of words that form no entities, as parts of speech;
 *   "numbers" for labels whose meaning the data do not give.
 * @property kinds of the entities, in the order of the labels.
 */
class TagScheme private constructor(val name: String, val kinds: List<String>, private val ofLabels: Map<String, Mark>) {
    /** What a label says: a letter, whose meaning is that of all schemes, and the kind of the entity. */
    private class Mark(val letter: Char, val kind: String)

    /** Whether the labels mark entities; else words are labelled one by one. */
    val hasEntities: Boolean get() = name in SCHEMES

    /**
     * The words' parts in entities, from their labels; null outside of entities.
     *
     * An entity that does not begin as its scheme wants begins with its first word.
     */
    fun tags(labels: List<String>): List<Tag?> {
        var open: String? = null // the kind of the entity that may go on
        return labels.map { label ->
            val mark = ofLabels[label]
            val tag = mark?.let { Tag(it.kind, begins = it.letter in BEGINS || it.kind != open) }
            open = mark?.takeIf { it.letter !in ENDS }?.kind
            tag
        }
    }

    companion object {
        /** What labels are called that stand for no label. */
        const val OUTSIDE: String = "O"

        private const val UNNAMED = "entity" // the kind of entities whose labels name none: B, I, O
        private const val BEGINS = "BSU"
        private const val ENDS = "ESLU"
        private val SCHEMES = mapOf("IO" to "I", "BIO" to "BI", "BIOES" to "BIES", "BILOU" to "BILU", "BMES" to "BMES")
        private const val LETTERS = "BIESLUM"
        private val NUMBER = Regex("-?\\p{Nd}+")

        /** The scheme of a token classifier's labels. */
        fun of(labels: List<String>): TagScheme {
            val names = labels.filter { it != OUTSIDE }
            if (names.all(NUMBER::matches)) return TagScheme("numbers", emptyList(), emptyMap())
            val marked = names.mapNotNull { name -> mark(name)?.let { name to it } }.toMap()
            val withKind = marked.filterKeys { it.length > 1 }
            val hasOutside = OUTSIDE in labels
            return when {
                withKind.isNotEmpty() && (hasOutside || names.all(withKind::containsKey)) -> of(withKind)
                !hasOutside -> plain()
                "B" in marked && names.all(marked::containsKey) -> of(marked)
                else -> TagScheme("IO", names.distinct(), names.associateWith { Mark('I', it) })
            }
        }

        /** The first scheme that has all the letters. */
        private fun of(marked: Map<String, Mark>): TagScheme {
            val letters = marked.values.map { it.letter }
            val name = SCHEMES.entries.find { (_, known) -> letters.all { it in known } }?.key ?: return plain()
            return TagScheme(name, marked.values.map { it.kind }.distinct(), marked)
        }

        private fun plain() = TagScheme("plain", emptyList(), emptyMap())

        /** Of a letter alone, or one with a dash and a kind. */
        private fun mark(label: String): Mark? = when {
            label.firstOrNull()?.let { it in LETTERS } != true -> null
            label.length == 1 -> Mark(label[0], UNNAMED)
            label[1] == '-' && label.length > 2 -> Mark(label[0], label.substring(2))
            else -> null
        }
    }
}
