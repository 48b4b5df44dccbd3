package mobilebert.text

import mobilebert.InputException

/**
 * BERT's tokenizer: the same pieces as Google's BasicTokenizer and WordpieceTokenizer (google-research/bert,
 * tokenization.py) and as mobilebert_tf's in Python, with the place of each in the text.
 *
 * Safe to use from many threads.
 *
 * @property vocabulary the pieces in the order of their ids; those inside a word start with "##".
 * @property lowerCase whether text is lower-cased ("uncased" vocabularies).
 * @property stripAccents whether accents are stripped; BERT does so where it lower-cases.
 * @throws InputException for a vocabulary that is empty, lacks a special token or repeats a piece.
 */
class WordPiece(
    val vocabulary: List<String>,
    val lowerCase: Boolean = true,
    val stripAccents: Boolean = lowerCase,
) {
    private val ids: Map<String, Int> = numbered(vocabulary)
    private val normalizer = Normalizer(lowerCase, stripAccents)
    private val longestPiece = vocabulary.maxOf { it.length }

    val padId: Int = special("[PAD]")
    val unknownId: Int = special("[UNK]")
    val clsId: Int = special("[CLS]")
    val sepId: Int = special("[SEP]")
    val maskId: Int = special("[MASK]")

    /**
     * The pieces of a text, in order; without [CLS] and [SEP].
     *
     * @param specialTokens whether "[MASK]" and the like in the text are special tokens; else they are plain text.
     */
    fun tokenize(text: String, specialTokens: Boolean = false): List<Piece> {
        val pieces = ArrayList<Piece>(text.length / 3 + 1)
        for (word in normalizer.words(text, if (specialTokens) SPECIAL_TOKENS else emptyList())) addPieces(word, pieces)
        return pieces
    }

    /** Whether the piece continues a word, as "##ing" does. */
    fun continuesWord(id: Int): Boolean = vocabulary[id].startsWith(CONTINUED)

    /** The longest pieces that make up the word, from its start; [UNK] for all of it if there are none. */
    private fun addPieces(word: Word, pieces: MutableList<Piece>) {
        if (word.special) {
            pieces += Piece(ids.getValue(word.text), word.starts[0], word.ends[0])
            return
        }
        val before = pieces.size
        var start = 0
        while (start < word.text.length) {
            val end = if (word.characters > LONGEST_WORD) -1 else longestPiece(word.text, start)
            if (end < 0) {
                while (pieces.size > before) pieces.removeAt(pieces.size - 1)
                pieces += Piece(unknownId, word.starts.first(), word.ends.last())
                return
            }
            val id = ids.getValue(piece(word.text, start, end))
            pieces += Piece(id, word.starts[start], word.ends[end - 1])
            start = end
        }
    }

    /** The end of the longest piece that the word has at [start]; -1 if none. */
    private fun longestPiece(word: String, start: Int): Int {
        var end = minOf(word.length, start + longestPiece)
        while (end > start) {
            val splitsCharacter = end < word.length && word[end].isLowSurrogate() && word[end - 1].isHighSurrogate()
            if (!splitsCharacter && piece(word, start, end) in ids) return end
            end--
        }
        return -1
    }

    private fun piece(word: String, start: Int, end: Int): String {
        val part = word.substring(start, end)
        return if (start == 0) part else CONTINUED + part
    }

    private fun special(token: String): Int =
        ids[token] ?: throw InputException("the vocabulary lacks the special token $token")

    companion object {
        /** The tokens that every vocabulary has. */
        val SPECIAL_TOKENS: List<String> = listOf("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

        private const val CONTINUED = "##"
        private const val LONGEST_WORD = 100 // characters (code points); BERT takes a longer word for one [UNK]

        private fun numbered(vocabulary: List<String>): Map<String, Int> {
            if (vocabulary.isEmpty()) throw InputException("the vocabulary is empty")
            val ids = HashMap<String, Int>(vocabulary.size * 2)
            vocabulary.forEachIndexed { id, piece ->
                if (piece.isEmpty()) throw InputException("line ${id + 1} of the vocabulary is empty")
                if (ids.put(piece, id) != null) throw InputException("the vocabulary holds the piece $piece twice")
            }
            return ids
        }
    }
}
