"""The file that quantization_report's search writes is checked as every export is."""

from pathlib import Path

import pytest
from support.models import save_directory
from support.texts import write_corpus

from mobilebert_tf import InputError
from mobilebert_tf.export import export
from mobilebert_tf.lite import verify
from mobilebert_tf.lite.export_config import ExportConfig
from mobilebert_tf.quantization_report import ReportConfig, quantization_report


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The settings of a search, for a file that was just exported."""
    folder = tmp_path_factory.mktemp("mixed")
    model = str(save_directory(folder / "model"))
    corpus = str(write_corpus(folder / "corpus.txt"))
    file = export(ExportConfig(model, str(folder / "x.tflite"), calibration_data=corpus))
    return ReportConfig(str(file), model, search=True, max_drop=1.0, overwrite=True)


def refused(config, message):
    with pytest.raises(InputError, match=message):
        quantization_report(config)
    assert not list(Path(config.file).parent.glob("*mixed*"))


def test_file_that_does_not_agree(exported, monkeypatch):
    monkeypatch.setitem(verify.LIMITS, "int8", verify.Limit(error=0.0, cosine=1.0, choice=1.0))
    refused(exported, "x-mixed.tflite does not agree with the model and is not kept: error")


def test_file_whose_answers_hang_on_the_texts_before(exported, monkeypatch):
    monkeypatch.setattr("mobilebert_tf.lite.export.wrong_after_shorter", lambda *_: 13)
    refused(exported, "x-mixed.tflite is not kept: after shorter texts, one of 13 tokens")
