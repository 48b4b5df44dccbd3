package mobilebert

/**
 * What was given cannot be used: a damaged file, text that is too long, a vocabulary without [UNK].
 *
 * The message is one line that says what is wrong; an app can show it as it is.
 */
class InputException(message: String) : Exception(message)
