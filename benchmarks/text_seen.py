"""The share of a text that pre-training sees, for texts of any language and punctuation.

    python benchmarks/text_seen.py FILE...

Each file is a corpus: a paragraph a line, a blank line between documents. Each of its tokens gets a
number of its own, so that those in the examples of some epochs (64 tokens an example) can be
counted. Also counted are the examples whose second half does not follow the first: half of them, if
documents have several sentences.
"""

import sys
from pathlib import Path

import numpy as np
import tabulate

from mobilebert_tf.data.corpus import load_documents
from mobilebert_tf.data.pretraining import PretrainingExamples
from mobilebert_tf.data.tokenized import TokenizedCorpus, tokenize_documents
from mobilebert_tf.text.tokenizer import SPECIAL_TOKENS, WordPiece
from mobilebert_tf.text.vocabulary import train_vocabulary

EPOCHS, TOKENS, BATCH, VOCABULARY = (1, 2, 40), 64, 4, 1500
HEADERS = ("text", "tokens", "sentences", "documents")
HEADERS += tuple(f"seen in {epochs} epochs" for epochs in EPOCHS) + ("random next",)


def main(*files: str) -> None:
    rows = [row(Path(file)) for file in files]
    print(tabulate.tabulate(rows, HEADERS, tablefmt="github"))


def row(file: Path) -> tuple:
    """Returns the figures of a file, in the order of HEADERS."""
    documents = load_documents(str(file))
    paragraphs = [paragraph for document in documents for paragraph in document]
    corpus = tokenize_documents(documents, WordPiece(train_vocabulary(paragraphs, VOCABULARY)))
    count = len(corpus.tokens)
    first = len(SPECIAL_TOKENS)
    numbered = TokenizedCorpus(
        np.arange(first, first + count, dtype=np.int32),
        corpus.sentence_offsets,
        corpus.document_offsets,
    )
    names = WordPiece([*SPECIAL_TOKENS, *(f"token{i}" for i in range(count))])
    examples = PretrainingExamples(
        numbered,
        names,
        batch_size=BATCH,
        sequence_length=TOKENS,
        max_predictions_per_sequence=TOKENS // 6,
    )
    seen, shares, random = np.zeros(first + count, bool), {}, []
    for epoch in range(max(EPOCHS)):
        for step in range(examples.batches_per_epoch):
            batch = examples.batch(epoch * examples.batches_per_epoch + step)
            seen[shown(batch)] = True
            random.append(batch["next_sentence_labels"])
        shares[epoch + 1] = f"{seen[first:].mean():.1%}"
    sizes = (count, len(corpus.sentence_offsets) - 1, len(corpus.document_offsets) - 1)
    return (file.stem, *sizes, *(shares[n] for n in EPOCHS), f"{np.concatenate(random).mean():.0%}")


def shown(batch: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the numbers of the tokens in a batch, before some of them were masked."""
    ids, used = batch["input_ids"].copy(), batch["masked_lm_weights"] > 0
    rows = np.broadcast_to(np.arange(len(ids))[:, None], used.shape)
    ids[rows[used], batch["masked_lm_positions"][used]] = batch["masked_lm_ids"][used]
    return np.unique(ids)


if __name__ == "__main__":
    main(*sys.argv[1:])
