"""What MediaPipe Tasks makes of files: started by test_clients.py in .venv-mediapipe.

Reads a JSON of texts and files (path, task), writes one JSON a line for each file: its outputs for
each text, or why MediaPipe refuses it.
"""

from answering import answer
from mediapipe.tasks.python import BaseOptions, text


def classified(path, texts):
    """Of each text a score for every label, and the labels."""
    options = text.TextClassifierOptions(BaseOptions(model_asset_path=path))
    with text.TextClassifier.create_from_options(options) as task:
        for sentence in texts:
            (head,) = task.classify(sentence).classifications
            yield {category.category_name: category.score for category in head.categories}


def embedded(path, texts):
    """Of each text its embedding."""
    options = text.TextEmbedderOptions(BaseOptions(model_asset_path=path))
    with text.TextEmbedder.create_from_options(options) as task:
        for sentence in texts:
            (embedding,) = task.embed(sentence).embeddings
            yield embedding.embedding.tolist()


if __name__ == "__main__":
    answer({"classifier": classified, "encoder": embedded})
