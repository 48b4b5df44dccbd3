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
    ("soft hyphens and blanks without width", "[MA\u00adSK] \u00ad[MASK]\u00ad [\u200bMASK] b"),
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

# Joiners, and texts that are cut into words by them; see mobilebert_tf/text/words.py.
JOINERS = ["--", "..", "0,0", "0.0", "x'x", "x-x", "x.x", "x.x."]
OTHER_JOINERS = ["#x", "0%", "x 'x", 'x" x', "\U00010100\U00010100"]
JOINED = [
    ("initials", "The U.S. of A. (the u.s.), 3.5.", JOINERS),
    ("hyphens and dashes", "(cat-dog) a--b c - d e- mail -x", JOINERS),
    ("numbers", "1,000,000.5 1, 2 a,b \u0967,\u0968 \U0001d7ce.\U0001d7cf 3d-4d", JOINERS),
    ("apostrophes", "don't don\u2019t \u2019t 'low' a''b", JOINERS),
    ("dots", "wait... ... a..b U.S... .", JOINERS),
    ("a mark beside a mark", "U.S.-based a.-b a-.b (-)", JOINERS),
    ("accents", "cafe\u0301-re\u0301sume\u0301 \u00e9.\u00e9. -\u0301a a\u0301-b", JOINERS),
    ("removed characters", "e\u00ad-\u200bmail U\u200b.\u00adS. \u200b-a", JOINERS),
    ("two units", "\U00010400-\U00010428 \U0001f642-a a-\U0001f642.", JOINERS),
    ("halves of pairs", "a\ud800-b \udc00.a", JOINERS),
    ("Chinese", "\u4e2d-\u6587 a-\u4e2d \u4e2d.b 3.5\u4e2d \u4e2d\u6587", JOINERS),
    ("Thai", "\u0e44\u0e17\u0e22-\u0e20\u0e32\u0e29\u0e32 \u0e01.\u0e17.\u0e21.", JOINERS),
    ("blanks of all kinds", "a\u00a0-b a-\u3000b a\u2028-\tb a\n.b", JOINERS),
    ("marks by normalisation", "a\u2260b a\u1fef.b \u226e-a a-\uff0d", JOINERS),
    ("unknown words", "zebra\u2603quux-a 1.\u2603", JOINERS),
    ("beginnings and ends", "John's dog's 's #tag a#b (#x) 5%, x% 5% l\"eau \"a\"", OTHER_JOINERS),
    ("marks of two units", "\U00010100\U00010100 a\U00010100\U00010101", OTHER_JOINERS),
    ("no joiners", "U.S. cat-dog", []),
    ("joiners without sense", "U.S. - a.", ["", " ", "-", "x", "x x", "a.b"]),
    ("nothing", "", JOINERS),
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
