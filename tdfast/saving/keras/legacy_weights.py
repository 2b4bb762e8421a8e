"""The weights in HDF5 files of Keras 2, tf.keras and Keras 3's legacy format: a group for each layer, under
its name.

A group's attribute ``weight_names`` lists its arrays, trainable ones first; the attribute ``layer_names``
above lists the groups in the order of the layers. In a file of a whole model all that is in the group
``model_weights``, and the arrays of the optimizer are in ``optimizer_weights``.
"""

from __future__ import annotations

import itertools
from typing import Any

from tdfast.errors import FileError

MAX_NAMES = 100_000

# The names that earlier Keras versions gave to an optimizer's slots.
_SLOTS = {
    "m": "momentum", "v": "velocity", "vhat": "velocity_hat", "u": "norm", "rms": "velocity",
    "mg": "average_gradient",
    "accum_grad": "accumulated_grad", "accum_var": "accumulated_delta_var",
}


def has_legacy_weights(store: Any) -> bool:
    """Whether a file's arrays are in this layout."""
    return _top(store) is not None


def names_of(store: Any, path: Any, name: str) -> Any:
    """The names that an attribute lists; a long list is cut into name0, name1, ..."""
    whole = store.text(path, name) if hasattr(store, "text") else None
    if whole is None:
        parts = (store.text(path, f"{name}{i}") for i in itertools.count()) if hasattr(store, "text") else ()
        parts = list(itertools.takewhile(lambda part: part is not None, parts))  # type: ignore[assignment]
        if not parts:
            return None
        whole = [text for part in parts for text in part]
    if not isinstance(whole, list) or len(whole) > MAX_NAMES:
        raise FileError(f"The attribute '{name}' of '{path}' in '{store.name}' must be a list of names.")
    return whole


def version_of(store: Any) -> Any:
    """The version of the Keras that wrote a file, "1" where it does not say."""
    version = store.text(_top(store) or "", "keras_version") or store.text("", "keras_version") or "1"
    return version if isinstance(version, str) else "1"


def legacy_pairs(model: Any, store: Any, skip_mismatch: bool = False, by_name: bool = False) -> list[Any]:
    """Triples (layer, variables, paths of their arrays), by the order of the layers or by their names."""
    top = _top(store)
    stored = {}
    for name in names_of(store, top, "layer_names") or []:
        group = f"{top}/{name}".lstrip("/")
        if name in stored:
            raise FileError(f"'{store.name}' has two layers called '{name}'.")
        stored[name] = [f"{group}/{weight}" for weight in names_of(store, group, "weight_names") or []]
    rest = names_of(store, f"{top}/top_level_model_weights".lstrip("/"), "weight_names")
    if rest and not skip_mismatch:
        raise FileError(
            f"'{store.name}' has weights of the model itself, outside its layers ({', '.join(rest[:3])}), "
            "which a Sequential "
            "model has no place for. skip_mismatch=True leaves them out."
        )
    if by_name:
        return [_triple(layer, stored[layer.name]) for layer in model.layers if layer.name in stored]
    layers = [layer for layer in model.layers if layer.weights]
    filled = [(name, paths) for name, paths in stored.items() if paths]
    if len(layers) != len(filled):
        raise FileError(
            f"'{store.name}' has weights of {len(filled)} layers ({_some(name for name, _ in filled)}), but "
            "model "
            f"'{model.name}' has {len(layers)} layers with weights ({_some(layer.name for layer in layers)})."
        )
    return [_triple(layer, paths) for layer, (_, paths) in zip(layers, filled)]


def legacy_state(optimizer: Any, store: Any) -> tuple[Any, ...]:
    """The paths of the arrays of an optimizer's state, in the order of ``optimizer.variables``; None for its
    learning rate.

    Returns:
        The paths, and a sentence that says why there are none, else "".
    """
    names = names_of(store, "optimizer_weights", "weight_names") or []
    paths = [f"optimizer_weights/{name}" for name in names]
    if version_of(store).startswith("3"):
        return paths, ""        # Keras 3's order
    found: dict[Any, Any] = {}
    for name, path in zip(names, paths):
        parts = name.split(":")[0].split("/")
        # tf.keras until 2.10 has Adam/<weight>/m, later ones have Adam/m/<weight>.
        slot = "iteration" if parts[-1] in ("iter", "iteration", "iterations") else (
            parts[-1] if "iteration:0" not in names else parts[1] if len(parts) > 1 else parts[0])
        found.setdefault(slot if slot in optimizer.slots else _renamed(slot, optimizer), []).append(path)
    idle = {"momentum"} if has_idle_momentum(optimizer) else set()
    unknown = found.keys() - optimizer.slots.keys() - {"iteration"} - idle
    if optimizer.slots.keys() - found.keys() or unknown:
        return [], (
            f"'{store.name}' has the state {_some(found)} of an optimizer, but '{optimizer.name}' "
            f"({type(optimizer).__name__}) has {_some(['iteration', *optimizer.slots])}."
        )
    out: list[Any] = []
    for name in (v.name for v in optimizer.variables):
        if name == "learning_rate":
            out.append(None)
            continue
        slot = name if name == "iteration" else max((s for s in optimizer.slots if name.endswith(f"_{s}")),
                                                    key=len, default="")
        if not found.get(slot):
            return [], f"'{store.name}' has no array for {name} of optimizer '{optimizer.name}'."
        out.append(found[slot].pop(0))
    if any(found.pop(slot) for slot in ["iteration", *optimizer.slots]):
        return (
            [],
            f"'{store.name}' has the state of an optimizer of another model than '{optimizer.name}' has.",
        )
    return out, ""


def has_idle_momentum(optimizer: Any) -> bool:
    """Whether Keras 2 kept a momentum that did nothing, as for SGD without momentum."""
    return getattr(optimizer, "momentum", None) == 0


def _renamed(slot: Any, optimizer: Any) -> Any:
    if slot == "v" and "norm" in optimizer.slots:
        return "norm"
    return _SLOTS.get(slot, slot)


def _top(store: Any) -> Any:
    """The path of the group with the layers' groups; None if there is none."""
    return next((path for path in ("", "model_weights") if names_of(store, path, "layer_names") is not None),
                None)


def _triple(layer: Any, paths: Any) -> tuple[Any, ...]:
    return layer, layer.trainable_weights + layer.non_trainable_weights, paths


def _some(names: Any) -> Any:
    names = list(names)
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
