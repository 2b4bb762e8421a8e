"""Why a step was refused: the first layer whose weights, outputs or gradients are not finite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast.engine.structure import flatten
from tdfast.engine.tape import Tape

if TYPE_CHECKING:
    from tdfast.engine.variable import Variable
    from tdfast.training.step import Step

KEPT = "The weights are those of the step before."


def of_gradient(model: Any, variable: Variable, where: str) -> str:
    """Which gradient left the range of its dtype, though the loss did not."""
    layer = next(layer for layer in model.walk() if layer is not model
                 and any(v is variable for v in layer.weights))
    return (
        f"The gradient of weight '{variable.name}' of layer '{layer.name}' ({type(layer).__name__}) is "
        f"not finite{where}, though the loss is. Try smaller inputs, targets or weights. {KEPT}"
    )


def of_loss(step: Step, batch: Any, value: Any, where: str) -> str:
    """Why the loss is not a number: the first layer whose weights or outputs are not finite."""
    start = f"The loss became {value}{where}"
    cure = "a smaller learning_rate" + ("" if step.optimizer.clips else " or clipnorm=1")
    if not all(np.isfinite(x).all() for x in batch.inputs if x.dtype.kind == "f"):
        return f"{start}: the inputs hold NaN or infinity. {KEPT}"
    try:
        outputs = _forward_until_bad(step.model, batch)
    except _Found as found:
        layer, weight = found.args
        name = f"layer '{layer.name}' ({type(layer).__name__})"
        if weight is None:
            return f"{start}. It began in {name}: its output is not finite. Try {cure}. {KEPT}"
        return (
            f"{start}. It began before that step: weight '{weight.name}' of {name} was not finite. Where "
            f"no file and no callback set it so, an update did: try {cure}."
        )
    names = " or ".join(f"'{head.loss.name}'" for head in step.objective.heads if head.loss is not None)
    largest = max(float(np.max(np.abs(y), initial=0)) for y in outputs)
    return (
        f"{start}. Every layer's output is finite, so it began in the loss {names}: check that the targets "
        f"are finite and fit it. The largest output is {largest:.3g}: where training has made it that large, "
        f"try {cure}. {KEPT}"
    )


class _Found(Exception):
    """Carries the first layer at fault, and its weight that is not finite, or None: its output is not."""


def _forward_until_bad(model: Any, batch: Any) -> list[Any]:
    """The outputs of the graph of a model; raises `_Found` at the first layer at fault."""

    def look(layer: Any, y: Any) -> None:
        weight = next((w for w in layer.weights if not np.isfinite(w.value).all()), None)
        if weight is not None or not all(np.isfinite(part).all() for part in flatten(y)
                                          if part.dtype.kind == "f"):
            raise _Found(layer, weight)

    tape, masks = Tape(keep=False), batch.masks or (None,) * len(batch.inputs)
    outputs, _ = model.graph.forward(batch.inputs, masks, tape.push(model), tape, look=look)
    return outputs
