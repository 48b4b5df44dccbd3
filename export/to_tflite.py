"""python export/to_tflite.py: a model directory becomes one .tflite file for phones."""

from mobilebert_tf.cli import door
from mobilebert_tf.held_out import score_file
from mobilebert_tf.lite.export import ExportConfig, export
from mobilebert_tf.report import write_report


def export_into_run(config: ExportConfig) -> None:
    path = export(config)
    accuracy = score_file(path)
    if accuracy is not None:
        print(f"held-out masked LM accuracy: {100 * accuracy:.1f} %")
    if (path.parent / "evaluation.json").exists():  # of a pre-training run
        print(f"report: {write_report(path.parent)}")


export_into_run.__doc__ = export.__doc__

if __name__ == "__main__":
    door(export_into_run, ExportConfig)
