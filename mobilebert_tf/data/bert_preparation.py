"""Writes a prepared folder as BERT's own pre-training records: prepare --format bert."""

from pathlib import Path

from mobilebert_tf.data.bert_records import record_places, write_bert_records
from mobilebert_tf.data.preparation import folder_tokenizer
from mobilebert_tf.data.preparation_plan import PLAN, PrepareConfig, begin, plan_of
from mobilebert_tf.data.prepared_text import HELD_OUT_SEED
from mobilebert_tf.data.records import ShardedCorpus, open_prepared, prepared_folder
from mobilebert_tf.data.shard_layout import SIDES
from mobilebert_tf.data.sources import Source
from mobilebert_tf.data.workers import Workers
from mobilebert_tf.errors import InputError
from mobilebert_tf.files import INDEX, locked_directory


def write_bert(config: PrepareConfig) -> dict[str, int]:
    """Writes a prepared folder as BERT's records; returns the number of examples of each side.

    Raises InputError if `corpus` is no prepared folder, or `output_dir` holds something else.
    """
    folder = prepared_folder(config.corpus)
    if folder is None:
        raise InputError(
            "`format` bert takes a prepared folder as `corpus`: prepare the text first"
        )
    prepared, path = open_prepared(folder), Path(config.output_dir)
    files = {side: [path / shard.file for shard in getattr(prepared, side)] for side in SIDES}
    with locked_directory(path, "preparation", [PLAN]):
        begin(path, plan_of(config, [Source(str(folder / INDEX), config.field)]), config.overwrite)
        tasks = [
            (config, side, number, file)
            for side in SIDES
            for number, file in enumerate(files[side])
            if not file.exists()
        ]
        with Workers(min(config.processes, len(tasks))) as workers:
            workers.run(_write_bert_shard, tasks, "writing")
    return {side: sum(len(record_places(file)) for file in files[side]) for side in SIDES}


def _write_bert_shard(config: PrepareConfig, side: str, number: int, path: Path) -> None:
    folder = prepared_folder(config.corpus)
    prepared = open_prepared(folder)
    shard = ShardedCorpus(folder, [getattr(prepared, side)[number]], prepared.vocab_size)
    seed = config.seed if side == "train" else HELD_OUT_SEED
    settings = config.example_settings() | {"seed": seed + number}
    write_bert_records(path, shard, folder_tokenizer(folder), config.copies, **settings)
