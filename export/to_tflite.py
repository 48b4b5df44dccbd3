"""python export/to_tflite.py: a model directory becomes one .tflite file for phones."""

from mobilebert_tf.cli import door
from mobilebert_tf.lite.export import ExportConfig, export

if __name__ == "__main__":
    door(export, ExportConfig)
