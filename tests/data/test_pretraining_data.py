"""Pre-training examples against BERT's recipe: what is paired, what is masked, what repeats."""

import numpy as np
import pytest

from mobilebert_tf.data.pretraining import PretrainingExamples
from mobilebert_tf.data.tokenized import TokenizedCorpus, tokenize_documents
from mobilebert_tf.errors import InputError
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece

# A made-up language in which the numbers of a text can be read off its tokens: token i of the
# corpus is WORDS[i % 900], and each third token continues the word before it.
WORDS = [f"w{i}" if i % 3 else f"##c{i}" for i in range(1, 901)]
VOCABULARY = [*SPECIAL_TOKENS, *WORDS]
TOKENIZER = WordPiece(VOCABULARY)
PAD, CLS, SEP, MASK = TOKENIZER.pad_id, TOKENIZER.cls_id, TOKENIZER.sep_id, TOKENIZER.mask_id
UNK = TOKENIZER.unk_id


def corpus_of(documents=40, sentences=30, longest=9, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, documents * sentences)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = (np.arange(offsets[-1]) % len(WORDS) + len(SPECIAL_TOKENS)).astype(np.int32)
    return TokenizedCorpus(tokens, offsets, np.arange(documents + 1) * sentences)


CORPUS = corpus_of()


def examples_of(corpus=CORPUS, **changes):
    arguments = dict(batch_size=13, sequence_length=37, max_predictions_per_sequence=7)
    return PretrainingExamples(corpus, TOKENIZER, **{**arguments, **changes})


def epoch_of(examples, epoch=0):
    """All batches of an epoch in one, [E, ...] each."""
    first = epoch * examples.batches_per_epoch
    batches = [examples.batch(first + i) for i in range(examples.batches_per_epoch)]
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def originals(batch):
    """The ids before masking, [B, T]."""
    ids = batch["input_ids"].copy()
    rows, slots = np.nonzero(batch["masked_lm_weights"])
    ids[rows, batch["masked_lm_positions"][rows, slots]] = batch["masked_lm_ids"][rows, slots]
    return ids


def segments_of(batch):
    """The two token lists of each example."""
    for ids, segments in zip(originals(batch), batch["segment_ids"], strict=True):
        a = ids[1 : np.flatnonzero(ids == SEP)[0]]
        yield a, ids[segments == 1][:-1]


# ---------------------------------------------------------------------------------------------
# Shapes and structure
# ---------------------------------------------------------------------------------------------


def test_shapes_and_types():
    batch = examples_of().batch(0)
    assert {key: (value.shape, value.dtype.name) for key, value in batch.items()} == {
        "input_ids": ((13, 37), "int32"),
        "input_mask": ((13, 37), "int32"),
        "segment_ids": ((13, 37), "int32"),
        "masked_lm_positions": ((13, 7), "int32"),
        "masked_lm_ids": ((13, 7), "int32"),
        "masked_lm_weights": ((13, 7), "float32"),
        "next_sentence_labels": ((13,), "int32"),
    }


@pytest.mark.parametrize("whole_word_masking", [False, True])
def test_every_example_is_well_formed(whole_word_masking):
    batch = epoch_of(examples_of(whole_word_masking=whole_word_masking))
    ids, mask, segments = originals(batch), batch["input_mask"], batch["segment_ids"]
    length = mask.sum(axis=1)
    np.testing.assert_array_equal(mask, np.arange(37) < length[:, None])
    np.testing.assert_array_equal(ids == PAD, mask == 0)
    assert (batch["input_ids"][mask == 0] == PAD).all()
    assert (ids[:, 0] == CLS).all() and ((ids == CLS).sum(axis=1) == 1).all()
    assert ((ids == SEP).sum(axis=1) == 2).all()
    assert (ids[np.arange(len(ids)), length - 1] == SEP).all()
    first_separator = np.argmax(ids == SEP, axis=1)
    expected = (np.arange(37) > first_separator[:, None]) & (mask == 1)
    np.testing.assert_array_equal(segments, expected)
    assert (first_separator >= 2).all() and (segments.sum(axis=1) >= 2).all()  # no empty segment


@pytest.mark.parametrize("whole_word_masking", [False, True])
def test_predictions_are_well_formed(whole_word_masking):
    batch = epoch_of(examples_of(whole_word_masking=whole_word_masking))
    positions, weights = batch["masked_lm_positions"], batch["masked_lm_weights"]
    count = weights.sum(axis=1).astype(int)
    assert count.min() >= 1 and count.max() <= 7
    np.testing.assert_array_equal(weights, np.arange(7) < count[:, None])
    assert not positions[weights == 0].any() and not batch["masked_lm_ids"][weights == 0].any()
    for row, n in zip(positions, count, strict=True):
        assert (np.diff(row[:n]) > 0).all() and row[0] > 0
    assert not np.isin(batch["masked_lm_ids"][weights == 1], [PAD, CLS, SEP, MASK]).any()


# ---------------------------------------------------------------------------------------------
# Pairs
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("documents", [2, 30])
def test_next_sentences_are_next_and_random_ones_from_another_document(documents):
    corpus = corpus_of(documents, 300 // documents, longest=3)
    assert len(corpus.tokens) < 900  # every token is another one: its id says where it stands
    borders = corpus.sentence_offsets[corpus.document_offsets] + len(SPECIAL_TOKENS)
    examples = examples_of(corpus, sequence_length=64, batch_size=1)
    batches = [epoch_of(examples, epoch) for epoch in range(10)]
    labels = np.concatenate([batch["next_sentence_labels"] for batch in batches])
    assert 20 < labels.sum() < len(labels) - 20
    for (a, b), random_next in zip(
        (pair for batch in batches for pair in segments_of(batch)), labels, strict=True
    ):
        assert (np.diff(a) == 1).all() and (np.diff(b) == 1).all()
        of_a, of_b = (set(np.searchsorted(borders, x, "right").tolist()) for x in (a, b))
        assert len(of_a) == len(of_b) == 1
        assert (of_a != of_b) if random_next else (of_a == of_b)
        if not random_next and len(a) + len(b) < 61:  # nothing was cut off
            assert b[0] == a[-1] + 1


def test_half_of_the_next_sentences_are_random():
    labels = epoch_of(examples_of(corpus_of(200, 60, longest=3)))["next_sentence_labels"]
    assert abs(labels.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(labels)) and len(labels) > 500


def test_all_text_is_used_in_an_epoch():
    corpus = corpus_of(documents=30, sentences=29, longest=1)  # 870 tokens, all different
    examples = examples_of(corpus, batch_size=1)
    seen = np.concatenate([np.concatenate(pair) for pair in segments_of(epoch_of(examples))])
    assert len(np.unique(seen)) == 870  # nothing is longer than an example here: nothing is lost


def test_lengths_are_full_but_for_the_short_ones():
    corpus = corpus_of(documents=5, sentences=1000, longest=1)
    full = epoch_of(examples_of(corpus, short_sequence_probability=0))["input_mask"].sum(axis=1)
    assert (full == 37).mean() > 0.95  # the ends of documents may be shorter
    short = epoch_of(examples_of(corpus, short_sequence_probability=1))["input_mask"].sum(axis=1)
    assert set(range(5, 37)) >= set(short) - {37} and abs(short.mean() - 21) < 2.5


def test_long_sentences_are_cut_to_fit():
    tokens = np.arange(5, 905, dtype=np.int32)
    corpus = TokenizedCorpus(tokens, np.array([0, 300, 600, 900]), np.array([0, 3]))
    batch = epoch_of(examples_of(corpus, batch_size=3, short_sequence_probability=0))
    assert (batch["input_mask"].sum(axis=1) >= 5).all()
    for (a, b), random in zip(segments_of(batch), batch["next_sentence_labels"], strict=True):
        assert (np.diff(a) == 1).all() and (np.diff(b) == 1).all()
        assert (b[0] == a[-1] + 1) == (not random)


def text_of(kind):
    """Documents as people have them: what ends a sentence, if anything does."""
    rng = np.random.default_rng(5)
    words = [f"{a}{b}" for a in "abcdefgh" for b in "klmnop"]
    sentence = lambda: " ".join(rng.choice(words, rng.integers(5, 20)))  # noqa: E731
    ends = {"capitals": ". ", "lower case": ". ", "none": " ", "chinese": "。", "hindi": "। "}
    capital = str.capitalize if kind == "capitals" else str
    return [
        [ends[kind].join(capital(sentence()) for _ in range(8)) for _ in range(3)]
        for _ in range(20)
    ]


@pytest.mark.parametrize("kind", ["capitals", "lower case", "none", "chinese", "hindi"])
def test_all_tokens_are_seen(kind):
    """Where sentences did not end in .!? before a capital, a third of the text was."""
    letters = "abcdefghklmnop"
    tokenizer = WordPiece([*SPECIAL_TOKENS, *letters, *(f"##{c}" for c in letters), *".。।"])
    corpus = tokenize_documents(text_of(kind), tokenizer)
    numbered = TokenizedCorpus(
        np.arange(5, 5 + len(corpus.tokens), dtype=np.int32),
        corpus.sentence_offsets,
        corpus.document_offsets,
    )
    names = [*SPECIAL_TOKENS, *(f"t{i}" for i in range(len(corpus.tokens)))]
    examples = PretrainingExamples(
        numbered,
        WordPiece(names),
        batch_size=1,
        sequence_length=64,
        max_predictions_per_sequence=7,
    )
    shares = []
    for epoch in range(3):
        batch = epoch_of(examples, epoch)
        seen = np.unique(np.concatenate([np.concatenate(pair) for pair in segments_of(batch)]))
        shares.append(len(seen) / len(corpus.tokens))
        assert 0.35 < batch["next_sentence_labels"].mean() < 0.7
    # An epoch with more examples than the first leaves the last ones of its order out.
    assert shares[0] == 1 and min(shares) > 0.95
    if kind in ("capitals", "chinese", "hindi"):
        assert len(corpus.sentence_offsets) - 1 == 20 * 3 * 8


def test_unknown_tokens_are_never_predicted():
    tokens = np.array([UNK, 7, 8] * 40, np.int32)
    corpus = TokenizedCorpus(tokens, np.arange(0, 121, 6), np.array([0, 10, 20]))
    batch = epoch_of(examples_of(corpus, masking_probability=1))
    predicted = batch["masked_lm_ids"][batch["masked_lm_weights"] == 1]
    assert set(predicted.tolist()) == {7, 8}
    only = TokenizedCorpus(np.full(120, UNK, np.int32), np.arange(0, 121, 6), np.array([0, 10, 20]))
    assert not epoch_of(examples_of(only))["masked_lm_weights"].any()


def test_random_sentences_of_the_only_document_do_not_follow():
    corpus = corpus_of(documents=1, sentences=200, longest=3)
    batch = epoch_of(examples_of(corpus))
    for (a, b), random in zip(segments_of(batch), batch["next_sentence_labels"], strict=True):
        assert (b[0] == a[-1] + 1) == (not random)


# ---------------------------------------------------------------------------------------------
# Masks
# ---------------------------------------------------------------------------------------------


def test_probability_one_masks_all_there_is():
    batch = epoch_of(examples_of(masking_probability=1, max_predictions_per_sequence=34))
    ids = originals(batch)
    predicted = np.zeros(ids.shape, bool)
    rows, slots = np.nonzero(batch["masked_lm_weights"])
    predicted[rows, batch["masked_lm_positions"][rows, slots]] = True
    np.testing.assert_array_equal(predicted, ~np.isin(ids, [PAD, CLS, SEP]))
    few = epoch_of(examples_of(masking_probability=1))["masked_lm_weights"].sum(axis=1)
    available = (~np.isin(ids, [PAD, CLS, SEP])).sum(axis=1)
    np.testing.assert_array_equal(few, np.minimum(available, 7))


def test_probability_zero_still_masks_one():
    assert (
        epoch_of(examples_of(masking_probability=0))["masked_lm_weights"].sum(axis=1) == 1
    ).all()


def test_share_and_fate_of_masked_tokens():
    examples = examples_of(
        corpus_of(400, 100), sequence_length=128, max_predictions_per_sequence=64
    )
    batch = epoch_of(examples)
    rows, slots = np.nonzero(batch["masked_lm_weights"])
    n = len(rows)
    assert n > 20_000
    assert abs(n / batch["input_mask"].sum() - 0.15) < 0.003  # the rounding of each example
    now = batch["input_ids"][rows, batch["masked_lm_positions"][rows, slots]]
    before = batch["masked_lm_ids"][rows, slots]

    def is_share(chosen, probability):
        return abs(chosen.mean() - probability) < 4 * np.sqrt(probability * (1 - probability) / n)

    assert is_share(now == MASK, 0.8)
    assert is_share((now != MASK) & (now != before), 0.1 * 899 / 900)
    assert is_share(now == before, 0.1 + 0.1 / 900)
    replaced = now[(now != MASK) & (now != before)]
    assert replaced.min() >= 5 and replaced.max() < 905 and len(np.unique(replaced)) > 600


def test_all_positions_are_equally_likely():
    examples = examples_of(corpus_of(400, 100, longest=1), short_sequence_probability=0)
    batch = epoch_of(examples)
    used = batch["masked_lm_weights"] == 1
    counts = np.bincount(batch["masked_lm_positions"][used], minlength=37)[1:36]
    free = (~np.isin(originals(batch), [PAD, CLS, SEP])).sum(axis=0)[1:36]
    share = used.sum() / free.sum()
    assert (np.abs(counts - share * free) < 5 * np.sqrt(share * free)).all()


def test_whole_words_are_masked_whole():
    examples = examples_of(whole_word_masking=True)
    batch = epoch_of(examples)
    continues = np.array([token.startswith("##") for token in VOCABULARY])
    for ids, positions, weights in zip(
        originals(batch), batch["masked_lm_positions"], batch["masked_lm_weights"], strict=True
    ):
        chosen = set(positions[weights == 1].tolist())
        maskable = ~np.isin(ids, [PAD, CLS, SEP])
        for i in np.flatnonzero(maskable[1:] & maskable[:-1] & continues[ids[1:]]):
            assert (i in chosen) == (i + 1 in chosen)


def test_a_word_longer_than_all_predictions_is_masked_in_part():
    tokens = np.full(60, VOCABULARY.index("##c3"), np.int32)
    corpus = TokenizedCorpus(tokens, np.array([0, 30, 60]), np.array([0, 1, 2]))
    batch = examples_of(corpus, whole_word_masking=True, batch_size=2).batch(0)
    assert (batch["masked_lm_weights"].sum(axis=1) == 7).all()


# ---------------------------------------------------------------------------------------------
# What repeats, and what does not
# ---------------------------------------------------------------------------------------------


def assert_equal(batch, other):
    for key in batch:
        np.testing.assert_array_equal(batch[key], other[key])


def test_a_step_is_the_same_whenever_asked_for():
    examples, again = examples_of(seed=3), examples_of(seed=3)
    steps = [0, 5 * examples.batches_per_epoch + 1, 1, examples.batches_per_epoch, 0]
    for step, other in zip(steps, [again.batch(s) for s in steps[::-1]][::-1], strict=True):
        assert_equal(examples.batch(step), other)


def test_epochs_and_seeds_differ():
    examples = examples_of()
    n = examples.batches_per_epoch
    first, later, other = examples.batch(0), examples.batch(n), examples_of(seed=1).batch(0)
    assert (first["input_ids"] != later["input_ids"]).any()
    assert (first["input_ids"] != other["input_ids"]).any()


def test_masks_are_fresh_for_the_same_text():
    corpus = corpus_of(documents=1, sentences=1)
    examples = examples_of(corpus, batch_size=1, short_sequence_probability=0)
    assert examples.batches_per_epoch == 1
    batches = [examples.batch(step) for step in range(20)]
    assert len({originals(batch).tobytes() for batch in batches}) == 1
    assert len({batch["masked_lm_positions"].tobytes() for batch in batches}) > 1


def test_dataset_equals_batches():
    examples = examples_of()
    start = examples.batches_per_epoch - 2
    dataset = examples.dataset(start, 5)
    assert dataset.element_spec["input_ids"].shape == (13, 37)
    assert dataset.element_spec["masked_lm_weights"].shape == (13, 7)
    got = list(dataset.as_numpy_iterator())
    assert len(got) == 5
    for step, batch in enumerate(got, start):
        assert_equal(examples_of().batch(step), batch)


@pytest.mark.parametrize("batch_size", [1, 7, 500])
def test_tiny_corpora_repeat(batch_size):
    examples = examples_of(corpus_of(documents=1, sentences=2), batch_size=batch_size)
    assert examples.batches_per_epoch >= 1
    for step in (0, 1, 7):
        assert len(originals(examples.batch(step))) == batch_size


def test_smallest_sizes():
    batch = epoch_of(examples_of(sequence_length=5, max_predictions_per_sequence=1))
    assert (batch["input_mask"] == 1).all() and (batch["segment_ids"] == [0, 0, 0, 1, 1]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequence_length": 4}, "`sequence_length` is 4"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_predictions_per_sequence": 0}, "must be from 1 to `sequence_length` - 3, 34"),
        ({"max_predictions_per_sequence": 35}, "`max_predictions_per_sequence` is 35"),
        ({"masking_probability": 1.5}, "masking_probability"),
        ({"short_sequence_probability": -0.1}, "short_sequence_probability"),
        ({"seed": -1}, "seed"),
    ],
)
def test_impossible_arguments(changes, message):
    with pytest.raises(InputError, match=message):
        examples_of(**changes)


def test_text_of_another_vocabulary_is_refused():
    with pytest.raises(InputError, match="another, larger vocabulary"):
        PretrainingExamples(
            CORPUS, WordPiece(VOCABULARY[:100]), batch_size=1, sequence_length=9,
            max_predictions_per_sequence=1,
        )  # fmt: skip


# ---------------------------------------------------------------------------------------------
# Tokenized text
# ---------------------------------------------------------------------------------------------

LETTERS = WordPiece([*SPECIAL_TOKENS, *"abcdefghij", ".", "?", "1", '"', "##b", "##c"])


def test_documents_become_sentences_and_tokens():
    documents = [
        ["a b. C d?  E.", "\x00 \u200b"],
        [" "],
        ["a. b c.", 'Fa 1.1 e.g. ab. "Abc." D', "", "abc.  \u201cA\u201d"],
    ]
    corpus = tokenize_documents(documents, LETTERS)
    sentences = [
        LETTERS.decode(corpus.tokens[a:b])
        for a, b in zip(corpus.sentence_offsets, corpus.sentence_offsets[1:], strict=False)
    ]
    # A single letter before the stop is an initial, a small letter after it no beginning.
    assert sentences == [
        *("a b. c d? e.", "a. b c."),
        *("[UNK] 1. 1 e. g. ab.", '" abc. "', "d", "abc.", "[UNK] a [UNK]"),
    ]
    np.testing.assert_array_equal(corpus.document_offsets, [0, 1, 7])
    assert corpus.tokens.dtype == np.int32
    assert corpus.sentence_offsets.dtype == corpus.document_offsets.dtype == np.int64
    assert corpus.sentence_offsets[-1] == len(corpus.tokens)


def test_many_paragraphs_keep_their_order():
    letters = "abcdefghij"
    documents = [[letters[i % 10], letters[(i + d) % 10]] for d in range(3) for i in range(700)]
    corpus = tokenize_documents(documents, LETTERS)
    expected = [5 + letters.index(p) for document in documents for p in document]
    np.testing.assert_array_equal(corpus.tokens, expected)
    np.testing.assert_array_equal(corpus.document_offsets, np.arange(0, 4201, 2))


@pytest.mark.parametrize("documents", [[], [[]], [[" ", "\x00"], ["\u200b"]]])
def test_nothing_to_tokenize(documents):
    with pytest.raises(InputError, match="holds no text"):
        tokenize_documents(documents, LETTERS)


def test_save_and_load(tmp_path):
    path = tmp_path / "train.npz"
    CORPUS.save(path)
    loaded = TokenizedCorpus.load(path)
    for name in ("tokens", "sentence_offsets", "document_offsets"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(CORPUS, name))
    assert [file.name for file in tmp_path.iterdir()] == ["train.npz"]
    assert_equal(examples_of(loaded).batch(1), examples_of().batch(1))


def test_bad_saved_corpora(tmp_path):
    with pytest.raises(InputError, match="missing.npz"):
        TokenizedCorpus.load(tmp_path / "missing.npz")
    path = tmp_path / "train.npz"
    CORPUS.save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"text", whole[:-50], whole[:100] + b"\xff" * 100 + whole[200:]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="train.npz"):
            TokenizedCorpus.load(path)
    np.savez(path, tokens=CORPUS.tokens)
    with pytest.raises(InputError, match="no tokenized corpus"):
        TokenizedCorpus.load(path)
