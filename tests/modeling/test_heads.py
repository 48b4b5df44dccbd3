"""The table of heads and the type of a head's kind name the same heads."""

from typing import get_args, get_type_hints

from mobilebert_tf.modeling.heads import HEADS, Head


def test_every_kind_of_head_has_its_row():
    assert set(get_args(get_type_hints(Head)["kind"])) == set(HEADS)
