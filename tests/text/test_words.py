"""Words of raw texts are those of the training data, as far as text/words.py defines them."""

import random

import pytest

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.heads import check_joiners
from mobilebert_tf.text.offsets import tokenize_with_offsets
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece
from mobilebert_tf.text.words import continued_words, learn_joiners

# It knows no piece, so each of BERT's parts is one [UNK].
PARTS = WordPiece(SPECIAL_TOKENS, lower_case=False)
ENGLISH = [
    "The U.S. team sent an e-mail , don't pay 3.5 or 1,000 ... ( cat-dog ) .".split(),
    "a -- b , and c .".split(),
]


def words(text, joiners, tokenizer=PARTS):
    return [text[start:end] for start, end in spans(text, joiners, tokenizer)]


def spans(text, joiners, tokenizer=PARTS):
    (encoded,) = tokenize_with_offsets(tokenizer, [text])
    found = []
    for (start, end), continued in zip(
        encoded.spans, continued_words(text, encoded.spans, joiners), strict=True
    ):
        found.append((found.pop()[0] if continued else start, end))
    return found


def test_what_english_words_say():
    assert learn_joiners(ENGLISH) == ("--", "..", "0,0", "0.0", "x'x", "x-x", "x.x", "x.x.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The U.S. team", "The|U.S.|team"),
        ("in the U.S., 3.5.", "in|the|U.S.|,|3.5|."),
        ("(cat-dog) a--b c - d", "(|cat-dog|)|a|--|b|c|-|d"),
        ("wait... 'e-mail'", "wait|...|'|e-mail|'"),
        ("1,000,000.5 yes,no", "1,000,000.5|yes|,|no"),
        ("don't don\u2019t \u2019t", "don't|don\u2019t|\u2019|t"),
        ("U.S.-based a_b", "U.S.|-|based|a|_|b"),
        ("E- mail e -mail U.\tS", "E|-|mail|e|-|mail|U|.|S"),
        ("cafe\u0301-re\u0301sume\u0301", "cafe\u0301-re\u0301sume\u0301"),
        ("e\u00ad-\u200bmail U\u200b.\u00adS.", "e\u00ad-\u200bmail|U\u200b.\u00adS."),
        ("\U00010400-\U0001d7ce.\U0001d7cf x", "\U00010400-\U0001d7ce.\U0001d7cf|x"),
        ("\u4e2d-\u6587 \u4e2d\u6587 a-\u4e2d", "\u4e2d|-|\u6587|\u4e2d|\u6587|a|-|\u4e2d"),
        ("\u0e44\u0e17\u0e22-\u0e20\u0e32 \u0e01", "\u0e44\u0e17\u0e22-\u0e20\u0e32|\u0e01"),
        ("a\u00a0-\u3000b a\u2009.b", "a|-|b|a|.|b"),
        ("\ud83d-a \ud800", "-|a"),
        ("", ""),
        (" \u200b ", ""),
    ],
)  # fmt: skip
def test_words_of_a_text(text, expected):
    assert words(text, learn_joiners(ENGLISH)) == (expected.split("|") if expected else [])


def test_without_joiners_each_mark_is_a_word():
    assert words("The U.S. (e-mail)", ()) == "The U . S . ( e - mail )".split()


@pytest.mark.parametrize(
    ("sentences", "text", "expected"),
    [
        # The possessive is a word of its own, though some names have an apostrophe.
        (["John 's and Anna 's dog", "O'Brien"], "Tom's O'Neil", "Tom|'s|O|'Neil"),
        (["l' homme et l' eau", "aujourd'hui"], "d'abord", "d'|abord"),
        (["#tag and @me", "@you ( @them )"], "see #one (@two) a@b", "see|#one|(|@two|)|a|@b"),
        (["up 100%", "- 5% , no 5 %"], "7%, 8% x%", "7%|,|8%|x|%"),
        (["up 100 %"], "7%", "7|%"),
        # Each reading has votes: here words are mostly cut at the mark, there they are not.
        (["well - known and so - called", "e-mail"], "good-bye", "good|-|bye"),
        (["e-mail cat-dog", "so - called"], "good-bye", "good-bye"),
        # A sentence, or an abbreviation, may end before a capital.
        (["It ended . Then came amazon.com", "Mr. Smith , Mr. Lee"], "b.c Mr. X.", "b.c|Mr|.|X|."),
        (["am 3. Mai", "der 5. , der 6. ."], "der 7. Tag.", "der|7.|Tag|."),
        (["\u4e2d\u4e2d e\u4e2db"], "\u4e2d\u4e2d a\u4e2db", "\u4e2d|\u4e2d|a|\u4e2d|b"),
        (["non\u00a0- blank"], "non-blank", "non|-|blank"),
    ],
)  # fmt: skip
def test_the_training_words_decide(sentences, text, expected):
    joiners = learn_joiners([sentence.split(" ") for sentence in sentences])
    assert words(text, joiners) == expected.split("|")


def test_what_is_said_is_read():
    """The joiners of the module's text, as they are written there."""
    joiners = ["x-x", "0,0", "x 'x", 'x" x', "#x", "0%", "x.x.", "x.x", ".."]
    text = "e-mail 1,0 a,b John's l\"eau #t 5% U.S. .. a#b x% end."
    expected = "e-mail|1,0|a|,|b|John|'s|l\"|eau|#t|5%|U.S.|..|a|#|b|x|%|end|."
    assert words(text, joiners) == expected.split("|")


LETTERS = ["abc", "\u00e9o\u0301", "\u0e44\u0e17\u0e22", "\U00010428", "\u0928\u093f", "X\u200by"]
DIGITS = ["1", "23", "\u0966\u0967"]


@pytest.mark.parametrize("seed", range(20))
def test_training_words_are_found_in_their_text(seed):
    """Marks that stand inside of words, at their ends if they are inside too, or behind a text."""
    draw = random.Random(seed)
    marks = draw.sample("-.,'/&:_\u2010\u00b7\u3001\u0964", 8)
    inside, final, behind = {"x": marks[:3], "0": marks[2:5]}, marks[5:6], marks[4:5] + marks[6:]

    def word():
        kind = draw.choice("x0")
        parts = draw.choices(LETTERS if kind == "x" else DIGITS, k=draw.randint(1, 3))
        if len(parts) > 1 and draw.random() < 0.3:
            return "".join(part + final[0] for part in parts)
        mark = draw.choice(inside[kind])
        return mark.join(parts)

    def sentence():
        return [word() for _ in range(draw.randint(1, 6))], draw.choice(behind)

    trained = [sentence() for _ in range(100)]
    joiners = learn_joiners([*given, mark] for given, mark in trained)
    for given, mark in [*trained, *(sentence() for _ in range(20))]:
        assert words(" ".join(given) + mark, joiners) == [*given, mark]
        assert words("  ".join([*given, mark]), joiners) == [*given, mark]


@pytest.mark.parametrize("seed", range(20))
def test_words_are_parts_joined_over_no_blank(seed):
    draw = random.Random(seed)
    characters = "ab1-.'\u2019\u00e9\u0301\u4e2d \u00a0\u200b\U0001f642\U00010400\u0e31%"

    def word():
        return "".join(draw.choices(characters, k=draw.randint(1, 5)))

    joiners = learn_joiners([[word() for _ in range(8)] for _ in range(50)])
    assert joiners
    text = " ".join(word() for _ in range(30))
    parts, found = spans(text, ()), spans(text, joiners)
    starts, ends = zip(*found, strict=True)
    assert set(starts) <= {start for start, _ in parts} and ends[-1] == parts[-1][1]
    assert not any(set(text[start:end]) & {" ", "\u00a0"} for start, end in found)
    # Every part is in a word.
    assert all(any(a <= start and end <= b for a, b in found) for start, end in parts)


def test_casing_and_accents_change_no_word():
    text = "The U.S. (Caf\u00e9-R\u00e9sum\u00e9) \u0130-\u1e9e"
    joiners = learn_joiners(ENGLISH)
    expected = words(text, joiners)
    for lower_case, strip_accents in ((True, True), (True, False), (False, False)):
        tokenizer = WordPiece(SPECIAL_TOKENS, lower_case, strip_accents)
        assert words(text, joiners, tokenizer) == expected


def test_joiners_that_a_head_cannot_have():
    check_joiners("token_classifier", ["x-x", "0.0"])
    check_joiners("classifier", ())
    for kind, wrong in (
        ("classifier", ["x-x"]),
        ("token_classifier", "x-x"),
        ("token_classifier", [1]),
        ("token_classifier", None),
    ):
        with pytest.raises(InputError, match="joiners are"):
            check_joiners(kind, wrong)
