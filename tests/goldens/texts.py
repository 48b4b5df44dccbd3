"""The texts of the golden files: each stands for something that a tokenizer can get wrong."""

from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS

# (name, text). What is above U+FFFF counts as one character in Python and as two units in Kotlin
# and JavaScript.
TOKENIZED = [
    ("empty", ""),
    ("blanks only", " \t\n\r\u00a0\u3000 "),
    ("plain words", "Hello world! Unwanted, running."),
    ("punctuation is words", "don't (won't) \"quote\" [a] a-b a_b $5.00 100%"),
    ("accents, composed", "Café résumé NAÏVE"),
    ("accents, decomposed", "cafe\u0301 CAFE\u0301 re\u0301sume\u0301"),
    ("accents of no letter", "\u0301 a\u0301\u0301 .\u0301a"),
    ("accents out of order", "e\u0301\u0323 a\u0323\u0301"),
    ("controls vanish", "a\u0000b\u0007c\u007fd\u0085e a\ufffdb"),
    ("formats vanish", "ab\u200bc a\u00adb a\u2060b \ufeffa"),
    ("formats inside a letter", "e\u200d\u0301x E\u200b\u0301"),
    ("private and unassigned", "a\ue000b a\u0378b a\U000f0000b"),
    ("blanks of all kinds", "a\u00a0b\u3000c\u2028d\u2029e\u1680f\u202fg"),
    ("Chinese characters are words", "中文字 日本abc中x"),
    ("Chinese beyond U+FFFF", "a\U00020000b\U0002f800 \U0002b820"),
    ("compatibility Chinese", "\uf900a"),
    ("emoji", "snow\U0001f642man \U0001f642 ☃ \U0001f642"),
    ("emoji of Unicode 15", "a \U0001fae8 b\U0001fae8"),
    ("joined emoji", "\U0001f469\u200d\U0001f469\u200d\U0001f467 a\ufe0fb"),
    ("astral letters", "\U00010400\U00010428 \U0001d400\U0001d41a x\U0001d400"),
    ("final sigma", "ΑΣ ΣΑΣ σς Σ ΟΔΟΣ."),
    ("Turkish i", "İstanbul ıI İİ"),
    ("sharp s", "straße STRASSE ẞ"),
    ("ligatures stay", "ﬁne ﬂ … ﬁﬁ"),
    ("compatibility stays", "ℌello ⅷ ½ ² ＡＢ，０"),
    ("singletons", "\u2126 \u212a \u212b Å"),
    ("digraphs", "ŉ Ǆǅǆ"),
    ("Hangul", "한각 각 가나 한a"),
    ("Hangul, decomposed", "\u1112\u1161\u11ab \u1112\u1161a"),
    ("Devanagari", "हिन्दी क्षत्रिय"),
    ("Thai and Arabic", "ภาษาไทย اَلْعَرَبِيَّة"),
    ("Vietnamese", "Tiếng Việt ở Đà Nẵng"),
    ("reordered vowel marks", "\u0915\u093c\u094d \u0b47\u0b3e"),
    ("special tokens as text", "[CLS] a [MASK] b [SEP] [mask] [MASK"),
    ("pieces as text", "##ing ing# #"),
    ("a word of 100", "x" * 100),
    ("a word of 101", "a " + "x" * 101 + " b"),
    ("100 characters of two bytes", "é" * 100 + " " + "é" * 101),
    ("100 characters of two units", "\U00010400" * 100 + " " + "\U00010400" * 101),
    ("100 with accents", "e\u0301" * 100),
    ("unknown word", "zebraquux ab☃"),
    ("a half of a pair", "a\ud800b \udc00"),
    ("right to left", "שָׁלוֹם abc עולם"),
]

SPECIAL = [
    ("mask in a sentence", "the [MASK] was low."),
    ("masks touch words", "a[MASK]b[MASK][MASK]"),
    ("nearly special", "[[MASK]] [mask] [MASK"),
    ("all of them", "[CLS] hello [SEP] world [SEP] [PAD] [UNK]"),
    ("private characters inside", "[MA\ue000SK] \ue004 x"),
    ("behind astral", "\U0001f642 [MASK] \U0001f642[MASK]"),
    ("an accent after one", "[MASK]\u0301 a"),
]

SENTENCES = [
    "The film was a delight from start to end.",
    "Café owners don't want lowly résumés!",
    "an unwanted \U0001f642 in the world of 中文",
    "play the player, not the low hello",
    "",
    "a",
]

DOCUMENT = (
    "The world was low and naïve.  Hello, said the player\u00ad, running: I want a café \U0001f642 "
    "in 日本!\nUnwantedly, the résumé of 1895 (1895-1943) did play on; lowly, the abc of it ended. "
) * 3

WORDS = (
    "the a an of in on to and was is it not film from start end owner ##s play ##er did said "
    "delight want un ##want ##ed ##ly run runn ##ing low hello world cafe café resume "
    "résumé naive abc ab ##ab ##bc mask Hello The World 1895 1943 don won"
).split()
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
VOCABULARY = list(
    dict.fromkeys(
        [
            *SPECIAL_TOKENS,
            *WORDS,
            *_LETTERS,
            *(f"##{letter}" for letter in _LETTERS),
            *"!\"#$%&'()*,-./:;?[]_`…☃中文日本字한각가ﬁßéςσ\U0001f642\U00010428\U00020000",
            *"\u1112\u1100\u0939\u0915",
            "##\u1161",
            "##\u11ab",
            *(f"##{letter}" for letter in "éßςσﬁ한각\U00010428\U0001f642\U0001d400\u093f\u0928"),
        ]
    )
)
