"""MediaPipe Tasks and the TensorFlow Lite Task Library on our files: which they open, and whether
they answer as we do. Run by make test-clients, which ends with the table."""

import numpy as np
import pytest
from client_process import CLIENTS, run_client
from exported import MAX_TOKENS, MODES, SENTENCES
from verdicts import add_row, as_expected

from mobilebert_tf.lite.runtime import LiteModel

MEDIAPIPE, TASK_LIBRARY = CLIENTS
# What a client says of the modes that it does not take. It must say it: not die, not misread.
OLD_RUNTIME = "Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'"
ONE_BYTE_EACH = "bytes, but is allocated with"  # what it thinks that 4-bit weights take
REFUSED = {
    MEDIAPIPE: {},
    TASK_LIBRARY: {"dynamic": OLD_RUNTIME, "int8": OLD_RUNTIME}
    | dict.fromkeys(("int4", "int4-mixed"), ONE_BYTE_EACH),
}
# Largest difference, of the largest output. MediaPipe 1.2.2 has our LiteRT's kernels: mostly 0.
# The Task Library's are TFLite's own, without XNNPACK's (our interpreter without XNNPACK gives its
# bits): float sums in another order (3e-7), and a sum that is rounded the other way becomes another
# int8 (0.046 at most, in files that are as far from the float model).
LIMITS = {
    # But int8-full embeddings of any length lie between both kinds of kernels: 0.035 from
    # XNNPACK's, 0.021 from TFLite's own, which are as far from one another.
    MEDIAPIPE: dict.fromkeys(MODES, 0.03) | {"none": 1e-5, "float16": 1e-5, "int8-full": 0.06},
    TASK_LIBRARY: dict.fromkeys(MODES, 0.06) | {"none": 1e-5, "float16": 1e-5},
}
# Of SENTENCES, those that the clients' tokenizer reads otherwise: it lower-cases ASCII alone, and
# keeps accents, invisible characters and emoji's variation selectors.
READ_OTHERWISE = {13, 14, 15, 17, 18}
QUESTIONS = ("What is returned ?", "When is an error raised if the file does not exist ?")


def cleaned(tokenizer, texts):
    """As BERT's BasicTokenizer leaves them; then the clients' tokenizer reads them as ours does."""
    return [" ".join(words.decode().split()) for words in tokenizer.words(list(texts)).numpy()]


@pytest.mark.parametrize("client", CLIENTS)
def test_tokenizer(client, exported, tmp_path, row):
    tokenizer, texts = exported.tokenizer, list(SENTENCES)
    for length in (64, MAX_TOKENS):
        file = exported.probe(length)
        expected = tokenizer.encode(texts, sequence_length=length)
        expected = np.concatenate(list(expected.values()), axis=1)  # ids, mask, segments
        for given in (texts, cleaned(tokenizer, texts)):
            (answer,) = run_client(client, [file], given, tmp_path).values()
            different = (np.array(answer["outputs"]) != expected).any(axis=1)
            assert set(np.flatnonzero(different)) == (READ_OTHERWISE if given is texts else set())
        same = len(texts) - len(READ_OTHERWISE)
        result = f"same ids for {same} of {len(texts)} texts, for all when cleaned"
        row(client=client, head="tokenizer", length=length, result=result)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("head", ["classifier", "encoder"])
def test_texts(client, head, exported, tmp_path, row):
    texts, files = cleaned(exported.tokenizer, SENTENCES), exported.files(head)
    found = run_client(client, files, texts, tmp_path)
    wrong = []
    for file in files:
        answer = found[str(file.path)]
        difference = None
        if "outputs" in answer:
            outputs = as_array(answer["outputs"], LiteModel(file.path).labels)
            difference = relative_difference(outputs, our_outputs(file, texts))
        add_row(row, client, file, answer, difference)
        reason, limit = REFUSED[client].get(file.mode), LIMITS[client][file.mode]
        if not as_expected(answer, difference, reason, limit):
            wrong.append((file.path.name, answer.get("refused"), difference))
    assert not wrong


@pytest.mark.parametrize("client", CLIENTS)
def test_text_longer_than_the_model(client, exported, tmp_path, row):
    """A fixed length cuts it; any length is an error, since neither client knows of a limit."""
    texts = ["word " * 2 * MAX_TOKENS]
    cut, whole = exported.file("classifier", "none", 64), exported.file("classifier", "none", None)
    found = run_client(client, [cut, whole], texts, tmp_path)
    outputs = as_array(found[str(cut.path)]["outputs"], LiteModel(cut.path).labels)
    assert relative_difference(outputs, our_outputs(cut, texts)) < LIMITS[client]["none"]
    assert "nvoke()" in found[str(whole.path)]["refused"]
    for file in (cut, whole):
        result = "cut" if file is cut else "an error: Invoke() failed"
        length = file.length or "any"
        row(client=client, head="768 words", mode="none", length=length, result=result)


def test_answers(exported, tmp_path, row):
    pairs = [[context, question] for context in contexts(exported) for question in QUESTIONS]
    files = exported.files("span")
    found = run_client(TASK_LIBRARY, files, pairs, tmp_path)
    wrong = []
    for file in files:
        answer = found[str(file.path)]
        difference = None
        if "outputs" in answer:
            ours = [our_answers(LiteModel(file.path), *pair) for pair in pairs]
            difference = difference_of_answers(answer["outputs"], ours, file.mode)
        add_row(row, TASK_LIBRARY, file, answer, difference)
        reason = REFUSED[TASK_LIBRARY].get(file.mode)
        if reason is None and file.length is None:
            reason = "Bad StatusOr access"  # it feeds 384 tokens into tensors of one
        if not as_expected(answer, difference, reason, LIMITS[TASK_LIBRARY][file.mode]):
            wrong.append((file.path.name, answer.get("refused"), difference))
    assert not wrong


@pytest.mark.parametrize("mode", ["none", "dynamic", "int8", "int8-full"])
def test_no_file_for_a_runtime_that_is_too_old(mode, exported, monkeypatch, capfd):
    options = (*MODES[mode], "--min-runtime", "2.3")
    monkeypatch.setitem(MODES, "too old", options)
    with pytest.raises(SystemExit):
        exported.file("classifier", "too old", None)
    assert f" {mode} file needs 2." in capfd.readouterr().err


def as_array(outputs, labels):
    """A client's outputs of texts [N,C]: scores in the order of the labels, or embeddings."""
    if labels:
        outputs = [[scores[label] for label in labels] for scores in outputs]
    return np.array(outputs, np.float32)


def our_outputs(file, texts):
    """The same by our tokenizer and runtime."""
    model = LiteModel(file.path)
    rows = []
    for text in texts:
        # A length of None: as long as the text.
        outputs = model(**model.tokenizer.encode([text], sequence_length=file.length))
        rows += outputs.values()  # there is one output
    return np.concatenate(rows)


def relative_difference(outputs, ours):
    assert outputs.shape == ours.shape
    return float(np.abs(outputs - ours).max() / np.abs(ours).max())


def contexts(exported):
    """Lower-case words that take most of 384 tokens, or more than there are."""
    texts = cleaned(exported.tokenizer, exported.paragraphs[:200])
    words = " ".join(texts).encode("ascii", "ignore").decode().split()
    return [" ".join(words[start : start + count]) for start, count in ((0, 200), (900, 400))]


def our_answers(model, context, question):
    """The Task Library's way from logits to answers: (text, first, last, score), best first.

    The words between blanks of the context; of the 5 best first and 5 best last tokens each pair in
    the context that is in order and has at most 32 tokens.
    """
    words, tokenizer = context.split(), model.tokenizer
    query = tokenizer.tokenize([question]).numpy()[0][:64].tolist()
    pieces = tokenizer.tokenize(words).to_list()
    room = MAX_TOKENS - len(query) - 3
    tokens = [(place, piece) for place, word in enumerate(pieces) for piece in word][:room]
    ids = [tokenizer.cls_id, *query, tokenizer.sep_id]
    start, after = len(ids), len(ids) + len(tokens)
    ids += [*(piece for _, piece in tokens), tokenizer.sep_id]
    ids = np.array([ids], np.int32)
    segments = (np.arange(ids.shape[1]) >= start)[None].astype(np.int32)
    short = MAX_TOKENS - ids.shape[1]
    ids, mask, segments = (
        np.pad(array, ((0, 0), (0, short))) for array in (ids, np.ones_like(ids), segments)
    )
    logits = model(ids, mask, segments)
    first, last = logits["start_logits"][0], logits["end_logits"][0]
    found = [
        (" ".join(words[tokens[i - start][0] : tokens[j - start][0] + 1]), i, j)
        for i in np.argsort(-first, kind="stable")[:5].tolist()
        for j in np.argsort(-last, kind="stable")[:5].tolist()
        if start <= i <= j < after and j - i < 32
    ]
    scored = [(*answer, float(first[answer[1]] + last[answer[2]])) for answer in found]
    return sorted(scored, key=lambda answer: -answer[3])[:5]


def difference_of_answers(theirs, ours, mode):
    """Of the scores of the answers that both have, of the largest score; None if others are found.

    Quantized, the fifth best may be another one, but most must be the same.
    """
    scores, shared, total = [], 0, 0
    for their, our in zip(theirs, ours, strict=True):
        known = {tuple(answer[:3]): answer[3] for answer in our}
        total += len(known)
        both = [(a[3], known[tuple(a[:3])]) for a in their if tuple(a[:3]) in known]
        shared += len(both)
        scores += both
    exact = mode in ("none", "float16")
    if total < 5 or shared < (total if exact else 0.6 * total):
        return None
    a, b = np.array(scores).T
    return float(np.abs(a - b).max() / np.abs(b).max())
