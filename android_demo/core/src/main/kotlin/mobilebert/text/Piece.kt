package mobilebert.text

/**
 * A token of a text, and where in the text it comes from.
 *
 * @property id its place in the vocabulary.
 * @property start the first of its characters in the text as it was given, in UTF-16 units (a Kotlin String's index).
 * @property end the first character behind it, so that `text.substring(start, end)` is its text. Accents, and removed
 *     characters inside a piece, belong to it; pieces made of one character share its place.
 */
data class Piece(val id: Int, val start: Int, val end: Int)
