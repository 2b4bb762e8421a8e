"""Batch: what a step takes."""

from __future__ import annotations

from typing import Any, NamedTuple


class Batch(NamedTuple):
    """Some samples as arrays, one in each tuple for each input or output of the model.

    Attributes:
        inputs: the inputs.
        targets: of each output; None for one without a loss and metrics. Empty for predictions.
        weights: a weight for each sample, or for each step, of each output; None for ones.
        masks: False at the steps to leave out, of each input; None for one without. In a batch that goes with
            a model's outputs, of each output.
    """

    inputs: tuple
    targets: tuple = ()
    weights: tuple = ()
    masks: tuple = ()


def one_or_list(values: Any) -> Any:
    """What a layer takes of several values: the only one, or a list.

    >>> one_or_list((1,)), one_or_list((1, 2))
    (1, [1, 2])
    """
    return values[0] if len(values) == 1 else list(values)
