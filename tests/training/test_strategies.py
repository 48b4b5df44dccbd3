"""The plan of each strategy (the paper's figure 2): what a stage transfers, trains and costs."""

import pytest

from mobilebert_tf.errors import InputError
from mobilebert_tf.modeling.config import SIZES
from mobilebert_tf.training.layer_transfer import check_fit, layer_map
from mobilebert_tf.training.run_config import Phase, TransferConfig
from mobilebert_tf.training.strategies import bare, plan

LAYERS = 3
BLOCKS = {"block_0", "block_1", "block_2"}
EVERYTHING = BLOCKS | {"embeddings", "pooler", "masked_lm", "next_sentence"}
TRANSFER = TransferConfig(phase=Phase(steps=37, learning_rate=0.2))
DISTILLATION = Phase(steps=13, learning_rate=0.1, warmup=0.2)


def stages(strategy, **changes):
    settings = {"phase": TRANSFER.phase} | changes
    return plan(strategy, LAYERS, TransferConfig(**settings), DISTILLATION)


def assert_trains_all(stage):
    assert set(stage.rates) == EVERYTHING and set(stage.rates.values()) == {1.0}
    assert stage.pretraining and stage.depth is None


def test_auxiliary_is_one_stage_with_everything():
    (stage,) = stages("auxiliary")
    assert_trains_all(stage)
    assert stage.layers == (0, 1, 2)
    assert stage.phase == DISTILLATION.replace(steps=37 + 13)


def test_joint_transfers_all_layers_then_distills():
    transfer, distillation = stages("joint")
    assert transfer.layers == (0, 1, 2) and not transfer.pretraining
    assert dict(transfer.rates) == dict.fromkeys(BLOCKS, 1.0)  # embeddings and heads frozen
    assert transfer.phase == TRANSFER.phase and transfer.depth == LAYERS
    assert_trains_all(distillation)
    assert distillation.layers == () and distillation.phase == DISTILLATION


def test_progressive_goes_from_the_bottom_one_layer_at_a_time():
    *transfers, distillation = stages("progressive")
    for index, stage in enumerate(transfers):
        assert stage.layers == (index,) and not stage.pretraining
        assert dict(stage.rates) == {f"block_{index}": 1.0}
        assert stage.depth == index + 1
        steps = 13 if index == 0 else 12  # a third of 37, and the one left over
        assert stage.phase == TRANSFER.phase.replace(steps=steps)
    assert len(transfers) == LAYERS
    assert_trains_all(distillation)
    assert distillation.layers == () and distillation.phase == DISTILLATION


def test_progressive_with_slow_lower_layers():
    first, second, third, _ = stages("progressive", lower_layer_rate=0.1)
    assert dict(first.rates) == {"block_0": 1.0}
    assert dict(second.rates) == {"block_0": 0.1, "block_1": 1.0}
    assert dict(third.rates) == {"block_0": 0.1, "block_1": 0.1, "block_2": 1.0}


def test_none_is_distillation_for_as_long():
    (stage,) = stages("none")
    assert_trains_all(stage)
    assert stage.layers == () and stage.phase == DISTILLATION.replace(steps=37 + 13)


def test_bare_is_pretraining_alone():
    (stage,) = bare(LAYERS, DISTILLATION)
    assert_trains_all(stage)
    assert stage.layers == () and stage.phase == DISTILLATION


@pytest.mark.parametrize("strategy", ["auxiliary", "joint", "progressive", "none"])
def test_all_strategies_cost_the_same_steps(strategy):
    settings = {"phase": Phase(steps=36)}
    assert sum(stage.phase.steps for stage in stages(strategy, **settings)) == 36 + 13


@pytest.mark.parametrize("strategy", ["auxiliary", "joint", "progressive", "none"])
def test_stage_names_differ(strategy):
    names = [stage.name for stage in stages(strategy)]
    assert len(set(names)) == len(names) and all(names)


def test_unknown_strategy():
    with pytest.raises(InputError, match="progresive"):
        stages("progresive")


def test_progressive_shares_out_all_steps():
    shares = [stage.phase.steps for stage in stages("progressive", phase=Phase(steps=37))]
    assert sum(shares[:-1]) == 37 and max(shares[:-1]) - min(shares[:-1]) <= 1


# --- does the teacher fit the student ------------------------------------------------------------

TEACHER, STUDENT = SIZES["test-teacher"], SIZES["test-student"]


def test_ib_bert_fits_mobilebert():
    check_fit(TEACHER, STUDENT, TransferConfig())
    check_fit(SIZES["ib-bert-large"], SIZES["mobilebert"], TransferConfig())
    check_fit(SIZES["ib-bert-large"], SIZES["mobilebert-tiny"], TransferConfig())
    check_fit(SIZES["demo-teacher"], SIZES["demo-student"], TransferConfig())
    assert layer_map(STUDENT, TransferConfig()) == [0, 1]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hidden_size": 26}, ["hidden_size", "(26)", "(24)"]),
        ({"vocab_size": 301}, ["vocab_size", "(301)", "(300)"]),
        ({"num_hidden_layers": 3}, ["3 layers", "2", "layer_map"]),
    ],
)
def test_unequal_sizes(changes, named):
    with pytest.raises(InputError) as error:
        check_fit(TEACHER.replace(**changes), STUDENT, TransferConfig())
    assert all(text in str(error.value) for text in named)


def test_a_projection_makes_widths_fit():
    check_fit(TEACHER.replace(hidden_size=26), STUDENT, TransferConfig(), projected=True)


@pytest.mark.parametrize("layers", [[0, 2], [1, 1], [2, 2], [0, 1]])
def test_layer_map_of_a_deeper_teacher(layers):
    teacher, transfer = TEACHER.replace(num_hidden_layers=3), TransferConfig(layer_map=layers)
    check_fit(teacher, STUDENT, transfer)
    assert layer_map(STUDENT, transfer) == layers


@pytest.mark.parametrize("layers", [[0], [0, 1, 2], [0, 3], [-1, 0], [2, 0]])
def test_bad_layer_map(layers):
    with pytest.raises(InputError, match="layer_map"):
        check_fit(TEACHER.replace(num_hidden_layers=3), STUDENT, TransferConfig(layer_map=layers))


def test_empty_layer_map():
    with pytest.raises(InputError, match="layer_map"):
        check_fit(TEACHER.replace(num_hidden_layers=3), STUDENT, TransferConfig(layer_map=[]))
