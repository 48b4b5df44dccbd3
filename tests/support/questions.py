"""Questions about texts, with answers that are hard to find."""

from hypothesis import strategies as st

from mobilebert_tf.tasks.squad import Question
from support.texts import WIDE_TOKENIZER as TOKENIZER


def pieces_of(text):
    return TOKENIZER.tokenize([text]).to_list()[0]


def question_about(context, answer=None, start=None, id="q", question="who", impossible=False):
    """A question; the answer's start is its first occurrence unless given."""
    answers = () if answer is None else (answer,)
    starts = () if answer is None else (context.find(answer) if start is None else start,)
    return Question(id, question, context, answers, starts, impossible)


# Words that TOKENIZER knows, parts of them, removed characters, accents, several blanks.
WORDS = st.sampled_from(
    [
        "the",
        "cat",
        "John",
        "Smith's",
        "(1895-1943).",
        "Japanese",
        "é1",
        "\u00ad",
        "中文",
        "a\u00a0b",
    ]
)
BLANKS = st.sampled_from([" ", "  ", "\n", "\u202f", "\t"])
CONTEXTS = st.lists(st.tuples(BLANKS, WORDS), min_size=1, max_size=40).map(
    lambda parts: "".join(blank + word for blank, word in parts)
)


@st.composite
def questions_with_answers(draw):
    context = draw(CONTEXTS)
    letters = [i for i, character in enumerate(context) if not character.isspace()]
    start = draw(st.sampled_from(letters))
    end = draw(st.sampled_from([i for i in letters if start <= i < start + 20])) + 1
    query = draw(st.sampled_from(["who", "who was John Smith?", "", "\u00ad"]))
    if draw(st.integers(0, 5)) == 0:
        return question_about(context, question=query, impossible=True)
    return question_about(context, context[start:end], start, question=query)
