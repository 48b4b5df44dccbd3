"""What the TensorFlow Lite Task Library makes of files: started by test_clients.py in
.venv-tflite-support.

Reads a JSON of texts and files (path, task), writes one JSON a line for each file: its outputs for
each text, or why the library refuses it.
"""

import ctypes

import libusb_package
from answering import answer

ctypes.CDLL(str(libusb_package.get_library_path()))  # which tflite_support is linked against

from tflite_support.task import core, text  # noqa: E402


def classified(path, texts):
    """Of each text a score for every label."""
    options = text.BertNLClassifierOptions(core.BaseOptions(file_name=path))
    task = text.BertNLClassifier.create_from_options(options)
    for sentence in texts:
        (head,) = task.classify(sentence).classifications
        yield {category.category_name: category.score for category in head.categories}


def embedded(path, texts):
    """Of each text its embedding."""
    options = text.TextEmbedderOptions(core.BaseOptions(file_name=path))
    task = text.TextEmbedder.create_from_options(options)
    for sentence in texts:
        (embedding,) = task.embed(sentence).embeddings
        yield embedding.feature_vector.value.tolist()


def answered(path, texts):
    """Of each (context, question) the answers, best first: text, first and last token, score."""
    options = text.BertQuestionAnswererOptions(core.BaseOptions(file_name=path))
    task = text.BertQuestionAnswerer.create_from_options(options)
    for context, question in texts:
        answers = task.answer(context, question).answers
        yield [[a.text, a.pos.start, a.pos.end, a.pos.logit] for a in answers]


if __name__ == "__main__":
    answer({"classifier": classified, "encoder": embedded, "span": answered})
