"""Model Garden trains on our masked examples, and we train on its: both feature-name sets."""

import random

import numpy as np
import pytest
from official.nlp.data import create_pretraining_data, pretrain_dataloader
from official.nlp.tools import tokenization
from support.texts import VOCABULARY, write_corpus

from mobilebert_tf.data.bert_preparation import write_bert
from mobilebert_tf.data.bert_records import BertRecords
from mobilebert_tf.data.preparation import prepare_corpus
from mobilebert_tf.data.preparation_plan import PrepareConfig
from mobilebert_tf.data.prepared_text import DataConfig, prepare_text

LENGTH, PREDICTIONS = 32, 5
OURS = {"input_word_ids": "input_ids", "input_type_ids": "segment_ids"}


@pytest.fixture
def place(tmp_path):
    write_corpus(tmp_path / "corpus.txt", documents=20)
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return tmp_path


@pytest.mark.parametrize("renamed", [False, True])
def test_we_read_what_it_writes(place, renamed):
    tokenizer = tokenization.FullTokenizer(str(place / "vocab.txt"), do_lower_case=True)
    instances = create_pretraining_data.create_training_instances(
        [str(place / "corpus.txt")], tokenizer, lambda line: line.decode().strip(), LENGTH, 2, 0.1,
        0.15, PREDICTIONS, random.Random(1),
    )  # fmt: skip
    path = str(place / "garden.tfrecord")
    create_pretraining_data.write_instance_to_example_files(
        instances, tokenizer, LENGTH, PREDICTIONS, [path], False, renamed
    )
    records = BertRecords([path])
    got = records.read(0, np.arange(len(instances)))
    for i, instance in enumerate(instances):
        count, predicted = len(instance.tokens), len(instance.masked_lm_labels)
        assert [VOCABULARY[id] for id in got["input_ids"][i, :count]] == instance.tokens
        assert got["segment_ids"][i, :count].tolist() == instance.segment_ids
        assert got["input_mask"][i].sum() == count
        ids = got["masked_lm_ids"][i, :predicted]
        assert [VOCABULARY[id] for id in ids] == instance.masked_lm_labels
        assert got["masked_lm_weights"][i].sum() == predicted
        assert got["next_sentence_labels"][i] == instance.is_random_next
    config = DataConfig(
        corpus=path, held_out_corpus=path, vocabulary=str(place / "vocab.txt"), batch_size=4,
        sequence_length=LENGTH, max_predictions_per_sequence=PREDICTIONS,
    )  # fmt: skip
    assert prepare_text(config, place / "run").training_examples(0).batch(0)["input_mask"].any()


def test_it_reads_what_we_write(place):
    settings = {"sequence_length": LENGTH, "max_predictions_per_sequence": PREDICTIONS}
    prepare_corpus(
        PrepareConfig(
            corpus=str(place / "corpus.txt"), vocabulary=str(place / "vocab.txt"),
            output_dir=str(place / "prepared"), held_out_fraction=0.2,
        )
    )  # fmt: skip
    config = PrepareConfig(
        corpus=str(place / "prepared"), output_dir=str(place / "bert"), format="bert", **settings
    )
    count = write_bert(config)["train"]
    (path,) = map(str, (place / "bert").glob("train-*"))
    garden = pretrain_dataloader.BertPretrainDataConfig(
        input_path=path, seq_length=LENGTH, max_predictions_per_seq=PREDICTIONS,
        global_batch_size=count, is_training=False, use_next_sentence_label=True,
    )  # fmt: skip
    (batch,) = pretrain_dataloader.BertPretrainDataLoader(garden).load()
    records = BertRecords([path])
    ours = records.read(0, np.arange(count))
    ours["next_sentence_labels"] = ours["next_sentence_labels"][:, None]
    assert batch.keys() - OURS.keys() == ours.keys() - set(OURS.values())
    for name, values in batch.items():
        np.testing.assert_array_equal(values, ours[OURS.get(name, name)])
