"""The Python API from a text to a phone's file, in under a minute on a CPU.

Run it whole with `python examples/python_api.py`, or cell by cell in an editor that knows `# %%`.
It writes to a temporary folder. Models and text are tiny: what it prints shows the steps, not what
a model can learn.
"""

# %% A corpus of your own: any text file. This one comes from a small grammar.
import os
import runpy
import tempfile
from pathlib import Path

import keras

from mobilebert_tf import Pipeline, build_model, load_model, save_model

keras.utils.set_random_seed(0)
sample_data = Path(__file__).resolve().with_name("sample_data.py")
os.chdir(tempfile.mkdtemp(prefix="mobilebert_tf-"))
runpy.run_path(str(sample_data), run_name="__main__")

# %% Text becomes a vocabulary and masked examples.
from mobilebert_tf.data.prepared_text import DataConfig, prepare_text  # noqa: E402

text = prepare_text(
    DataConfig(corpus="my_text.txt", vocabulary_size=300, sequence_length=24, batch_size=16),
    Path("data"),
)
STEPS = 10
batches = text.training_examples(seed=0).dataset(0, STEPS)
print({name: tuple(array.shape) for name, array in next(iter(batches)).items()})

# %% A teacher and a student, in sizes with a name; any ModelConfig or bert_config.json will do.
from mobilebert_tf.modeling.config import SIZES  # noqa: E402

size = len(text.tokenizer)
teacher = build_model(SIZES["test-teacher"].replace(vocab_size=size), "pretraining")
student = build_model(SIZES["test-student"].replace(vocab_size=size), "pretraining")

# %% Each stage of a strategy is a Keras model that `fit` trains.
from mobilebert_tf.training.distiller import Distiller  # noqa: E402
from mobilebert_tf.training.from_teacher import copy_from_teacher  # noqa: E402
from mobilebert_tf.training.run_config import Phase, TransferConfig  # noqa: E402
from mobilebert_tf.training.strategies import bare, plan  # noqa: E402

phase = Phase(steps=STEPS, learning_rate=1e-2)
(pretraining,) = bare(teacher.config.num_hidden_layers, phase)
trainer = Distiller(teacher, pretraining)
trainer.compile()
trainer.fit(batches, steps_per_epoch=STEPS, shuffle=False, verbose=2)

copy_from_teacher(teacher, student)
transfer = TransferConfig(phase=phase)
for stage in plan("joint", student.config.num_hidden_layers, transfer, distillation=phase):
    print(stage.name)
    trainer = Distiller(student, stage, transfer, teacher)
    trainer.compile()  # the stage's own LAMB; any Keras optimizer may be given
    trainer.fit(batches, steps_per_epoch=STEPS, shuffle=False, verbose=2)

# %% A model directory holds everything that a model needs: config, weights, vocabulary, head.
save_model(student, "student", text.tokenizer)
print(Pipeline("student", top=2)("what a [MASK] film."))

# %% Another head on the trained encoder is fine-tuned as any Keras model is.
from mobilebert_tf.modeling.model import copy_weights  # noqa: E402
from mobilebert_tf.tasks.registry import open_task  # noqa: E402

task = open_task("classification", "reviews", ["train", "dev"])
classifier = build_model(student.config, "classifier", task.labels)
copy_weights(load_model("student"), classifier)
train, dev = (task.encode(split, text.tokenizer, 24).arrays for split in ("train", "dev"))
by_logits = keras.Model(classifier.input, classifier.output["logits"])
by_logits.compile(
    keras.optimizers.Adam(1e-2),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
by_logits.fit(
    {name: train[name] for name in classifier.input},
    train["targets"],
    validation_data=({name: dev[name] for name in classifier.input}, dev["targets"]),
    batch_size=32,
    epochs=2,
    verbose=2,
)
save_model(classifier, "reviews-model", text.tokenizer)

# %% The file for a phone; an export that does not agree with the model leaves no file.
from mobilebert_tf.export import ToTfliteConfig, export  # noqa: E402

path = export(ToTfliteConfig(model="reviews-model", calibration_data="my_text.txt"))
for result in Pipeline(path)(["what a lovely plot!", "the music was rather dull."]):
    print(f"{result.text}  {result.label} {result.probability:.3f}")
