"""python -m mobilebert_tf.pretrain: pre-trains a teacher, or a student without one, on raw text."""

from collections.abc import Sequence

import keras

from mobilebert_tf.cli import door
from mobilebert_tf.data.prepared_text import prepare_text
from mobilebert_tf.files import write_json
from mobilebert_tf.modeling.model import checksum
from mobilebert_tf.modeling.model_directory import load_model
from mobilebert_tf.reports.html_pages import percent
from mobilebert_tf.reports.run_report import write_report
from mobilebert_tf.training.distribution import on_devices
from mobilebert_tf.training.finished import is_trained
from mobilebert_tf.training.held_out import masked_lm_scores, scored_examples
from mobilebert_tf.training.initial_model import initial_config, initial_model, read_init
from mobilebert_tf.training.loop import prepare_process
from mobilebert_tf.training.pretraining import pretrain_alone
from mobilebert_tf.training.run_config import PretrainConfig
from mobilebert_tf.training.run_folder import open_run


def pretrain(config: PretrainConfig) -> None:
    """Pre-trains a model on raw text with masked LM and next sentence prediction.

    Writes the model directory OUTPUT_DIR/teacher (or /student with --role), with the history of
    the run beside it. The same command continues a run that was killed.
    """
    with on_devices(config.devices):
        _pretrain(config)


def _pretrain(config: PretrainConfig) -> None:
    prepare_process(config.seed, config.precision)
    init = read_init(config.init, config.model, PretrainConfig.model, config)
    with open_run(config) as folder:
        text = prepare_text(config, folder / "data", init.tokenizer if init else None)
        model_config = init.model.config if init else initial_config(config.model, text)
        if init is None:
            folder.check_unchanged({"`model`": model_config.to_json()})
        else:
            folder.check_unchanged({"`init`": checksum(init.model)})
        directory = folder / config.role
        if not is_trained(folder, config.role, [config.training.steps], config):
            keras.utils.set_random_seed(config.seed)
            model = initial_model(model_config, init, text)
            pretrain_alone(
                model, config.training, text, name=config.role, folder=folder, config=config
            )
        examples, model = text.held_out_examples(), load_model(directory)
        scores = masked_lm_scores(model, examples) | {"parameters": model.count_params()}
        evaluation = {"models": {config.role: scores}, "examples": scored_examples(examples)}
        write_json(folder / "evaluation.json", evaluation)
        write_report(folder.path)
    print(f"{directory}: held-out masked LM accuracy {percent(scores['mlm_accuracy'])}")
    print(f"report: {folder / 'report.html'}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; see cli.door."""
    door(pretrain, PretrainConfig, arguments=arguments)


if __name__ == "__main__":
    main()
