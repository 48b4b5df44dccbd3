package mobilebert.host

import java.util.Random

/** Texts of up to 40 characters: mostly what a vocabulary knows, then what joins, moves or vanishes, then anything. */
internal fun strangeTexts(count: Int, seed: Long): List<String> {
    val random = Random(seed)
    return List(count) {
        buildString { repeat(random.nextInt(41)) { appendCodePoint(strangeCharacter(random)) } }
    }
}

private val FAMILIAR =
    "abcdeABE    .,!'-\n\t\u00a0ΣσςİßﬁéÉñ…한가中文☃\uD83D\uDE42\uD801\uDC00".codePoints().toArray()
private val MARKS = listOf(0x300..0x36F, 0x1100..0x11FF, 0x591..0x5C7, 0x900..0x94F, 0x1D165..0x1D172, 0x20D0..0x20F0)
private val VANISHING =
    listOf(0x0..0x1F, 0x7F..0x9F, 0xAD..0xAD, 0x200B..0x200F, 0xD800..0xDFFF, 0xE000..0xE005, 0xFFFD..0xFFFD)

private fun strangeCharacter(random: Random): Int = when (random.nextInt(10)) {
    in 0..4 -> FAMILIAR[random.nextInt(FAMILIAR.size)]
    5, 6 -> MARKS[random.nextInt(MARKS.size)].let { it.first + random.nextInt(it.count()) }
    7 -> VANISHING[random.nextInt(VANISHING.size)].let { it.first + random.nextInt(it.count()) }
    8 -> random.nextInt(0x3000)
    else -> random.nextInt(0x110000)
}
