"""The .keras file: config.json, metadata.json and the weights, read and written as Keras 3 does.

Inside the weights, a layer's arrays are at its place in the model, not under its name:
``layers/<class in snake_case>[_n]/vars/<i>``, counted per class; an RNN's at ``.../cell/vars``, those
of the layer inside a wrapper at ``.../layer/vars``; the optimizer's at ``optimizer/vars``.
"""

import io
import json
import os
import re
import time
import zipfile

import numpy as np

from tdfast import version
from tdfast.errors import FileError
from tdfast.saving.archive import Archive
from tdfast.saving.atomic import replacing
from tdfast.saving.weights import H5Weights, NpzWeights, write_h5
from tdfast.serialization import as_shape, child_keys, deserialize_layer, revive, serialize_layer

# The Keras whose format is written.
KERAS_VERSION = "3.15.1"

# How a model was compiled that changes no result here.
_SPEED_OPTIONS = {"run_eagerly", "steps_per_execution", "jit_compile", "auto_scale_loss"}


def load_model(filepath, custom_objects=None, compile=True, safe_mode=True):
    """Read a model from a .keras file of Keras 3 or of tdfast.

    Weights, and with ``compile`` also loss, metrics, optimizer and its state, come back as they were.
    No code in the file is run, nothing is imported because the file names it, and sizes are checked
    before memory is taken.

    Args:
        filepath: path of a .keras file, or a binary file object.
        custom_objects: dict from names to your own layer classes, losses, activations, ...
        compile: False leaves out loss, optimizer and metrics.
        safe_mode: as in Keras; there is no unsafe mode, so only True is accepted.

    Returns:
        A `tdfast.Sequential`.

    Raises:
        FileError: (a ValueError) if the file is damaged, unsafe, or holds something that tdfast
            lacks; the message names it and the layer.
        ImportError: if the weights are HDF5, as Keras writes them, and h5py is missing.
        OSError: if the file cannot be opened.

    Source: https://keras.io/api/models/model_saving_apis/model_saving_and_loading/
    """
    if safe_mode is not True:
        raise ValueError(
            f"load_model: safe_mode={safe_mode!r} is not supported: tdfast never runs code from a file. Leave it out."
        )
    try:
        with Archive(filepath) as archive:
            config = archive.read_json("config.json")
            if "metadata.json" in archive:
                archive.read_json("metadata.json")
            store = _open_weights(archive)
            try:
                return _load(config, store, custom_objects or {}, compile)
            finally:
                store.close()
    except (RecursionError, MemoryError) as error:
        raise FileError(f"'{filepath}' asks for more than this machine has: {error or type(error).__name__}.") from error


def _open_weights(archive):
    if "model.weights.h5" in archive:
        return H5Weights(archive.read("model.weights.h5"), archive.name)
    if "model.weights.npz" in archive:
        return NpzWeights(archive.read("model.weights.npz"), archive.name)
    if any("weights" in m for m in archive.members):
        raise FileError(
            f"'{archive.name}' holds its weights in a form that tdfast does not read: "
            f"{', '.join(m for m in list(archive.members)[:5] if 'weights' in m)}."
        )
    raise FileError(f"'{archive.name}' is not a complete .keras archive: 'model.weights.h5' is missing from it.")


def _load(config, store, custom_objects, compile):
    from tdfast.models import Sequential

    model = rebuild(config, store, custom_objects)
    if not isinstance(model, Sequential):
        raise FileError(f"'{store.name}' holds a single {type(model).__name__} layer, not a model.")
    compiled = config.get("compile_config")
    if compile and compiled:
        _compile(model, compiled, custom_objects, store)
    return model


def rebuild(config, store, custom_objects):
    """The layer or the model of Keras's dict, with its weights from a store.

    Raises:
        FileError: naming what tdfast lacks, or what does not fit.
    """
    filler = _Filler(store)
    try:
        layer = deserialize_layer(config, custom_objects, made=filler.attach)
        shape = _build_shape(config)
        if shape is not None and not layer.built:
            try:
                layer.ensure_built(shape)
            except FileError:
                raise
            except Exception as error:
                raise FileError(f"The model in '{store.name}' cannot be built for inputs of shape {shape}: {error}") from error
        filler.finish()
    finally:
        filler.detach()
    return layer


def _build_shape(config):
    """The input's shape with which the model was built, or None."""
    build = config.get("build_config")
    for found in (build.get("input_shape") if isinstance(build, dict) else None,
                  config["config"].get("build_input_shape")):
        if found is not None:
            return as_shape(found, "the input_shape of the model")
    return None


class _Filler:
    """Gives each new weight its array from the file, in the moment in which the layer makes it.

    The layer asks for a shape; it is compared with the shape in the file before any memory is taken,
    and the array serves in the place of the initializer.

    Args:
        store: the arrays by path.
    """

    def __init__(self, store):
        self.store = store
        self.waiting = set(store.paths())
        self.seen = {}

    def attach(self, layer, path):
        """Watch over a layer whose weights are at ``path``, and over the layers inside it."""
        if id(layer) in self.seen:
            return
        base = path.lstrip("/")
        if _has_cell(layer):
            base += "/cell"
        self.seen[id(layer)] = layer, base
        counts = {True: 0, False: 0}

        def add_weight(shape, initializer=None, name="variable", trainable=True, **options):
            # Keras stores the trainable ones first.
            index = counts[trainable] + (0 if trainable else counts[True])
            counts[trainable] += 1
            return type(layer).add_weight(
                layer, shape, initializer=self._reader(layer, base, index, name), name=name, trainable=trainable, **options
            )

        layer.add_weight = add_weight
        for key, inner in sublayers_by_attribute(layer):
            self.attach(inner, f"{path}/{key}")

    def _reader(self, layer, base, index, name):
        path = f"{base}/vars/{index}".lstrip("/")

        def read(shape, dtype=None):
            self._check(layer, path, name, tuple(shape))
            self.waiting.discard(path)
            array = self.store.read(path)
            return array if dtype is None else array.astype(dtype, copy=False)

        return read

    def _check(self, layer, path, name, shape):
        kind = type(layer).__name__
        if path not in self.waiting:
            raise FileError(
                f"The weights of layer '{layer.name}' ({kind}) are not in '{self.store.name}': its {name} of shape "
                f"{shape} should be at '{path}'."
            )
        stored = self.store.shape(path)
        if stored != shape:
            raise FileError(
                f"The weights of layer '{layer.name}' ({kind}) do not fit its config: {name} should have shape {shape}, "
                f"but '{path}' in '{self.store.name}' has shape {stored}."
            )

    def finish(self):
        """Refuse arrays of layers that nothing has asked for: a part of the model would be missing."""
        left = sorted(p for p in self.waiting if p.startswith(("layers/", "vars/")) and "/seed_generator/" not in p)
        if left:
            raise FileError(
                f"'{self.store.name}' has weights that its config has no place for: "
                f"{', '.join(left[:5])}{', ...' if len(left) > 5 else ''}."
            )

    def detach(self):
        """Let the layers go; they build as always from here on."""
        for layer, _ in self.seen.values():
            layer.__dict__.pop("add_weight", None)


def sublayers_by_attribute(layer):
    """Pairs (attribute, layer) in Keras's order, which decides where the inner layers' weights are."""
    from tdfast.layers.base import Layer
    from tdfast.models import Sequential

    if isinstance(layer, Sequential):
        return []       # its layers have places of their own, see `child_keys`
    found = []
    for name, value in sorted(vars(layer).items(), key=lambda item: (item[0].startswith("_"), item[0])):
        if isinstance(value, Layer):
            found.append((name, value))
        elif isinstance(value, list) and not name.startswith("_"):
            inner = [v for v in value if isinstance(v, Layer)]
            found += [(f"{name}/{key}", v) for key, v in zip(child_keys([type(v).__name__ for v in inner]), inner)]
    return found


def _has_cell(layer):
    """Whether Keras keeps the weights of such a layer one level deeper, in its cell."""
    return getattr(layer, "cell_name", None) is not None


# ------------------------------------------------------------------------------------------ compile state
def _compile(model, config, custom_objects, store):
    from tdfast import losses, metrics, optimizers

    if not isinstance(config, dict):
        raise FileError(f"The compile_config in '{store.name}' must be a dict, got {config!r}.")
    again = "Load with compile=False and call compile() with something else."
    config = {k: v for k, v in config.items() if k not in _SPEED_OPTIONS}
    try:
        arguments = {}
        if config.get("optimizer") is not None:
            arguments["optimizer"] = _optimizer(optimizers, config["optimizer"], custom_objects)
        if config.get("loss") is not None:
            loss = _only(config["loss"], "the loss")
            arguments["loss"] = revive(losses, loss, custom_objects, "the loss of compile")
        for key in ("metrics", "weighted_metrics"):
            specs = _metric_list(config.get(key))
            if specs:
                arguments[key] = [_metric(metrics, s, custom_objects, key) for s in specs]
        for key in sorted(set(config) - {"optimizer", "loss", "metrics", "weighted_metrics"}):
            if config[key] not in (None, [], {}) and not (key == "loss_weights" and config[key] in (1, [1])):
                raise FileError(f"The option {key}={config[key]!r} of compile does not exist in tdfast.")
        model.compile(**arguments)
        _load_optimizer(model, store)
    except Exception as error:
        raise FileError(f"'{store.name}' cannot be compiled as it was: {error} {again}") from error


def _optimizer(optimizers, spec, custom_objects):
    if isinstance(spec, dict) and isinstance(spec.get("config"), dict):
        rate = spec["config"].get("learning_rate")
        if isinstance(rate, dict):
            schedules = getattr(optimizers, "schedules", None)
            if schedules is None:
                raise FileError(
                    f"The learning_rate of the optimizer is the schedule {rate.get('class_name')!r}; "
                    "tdfast has no schedules."
                )
            rate = revive(schedules, rate, custom_objects, "the learning_rate of the optimizer")
            spec = {**spec, "config": {**spec["config"], "learning_rate": rate}}
        for key, value in spec["config"].items():
            if isinstance(value, (list, dict)):
                raise FileError(f"The option {key} of the optimizer must be a number or a name, got {value!r:.80}.")
    return revive(optimizers, spec, custom_objects, "the optimizer of compile")


def _metric(metrics, spec, custom_objects, key):
    who = f"an entry of the {key} of compile"
    if isinstance(spec, str):
        if not metrics.follows_the_loss(spec) and spec not in custom_objects:
            revive(metrics, spec, custom_objects, who)
        return custom_objects.get(spec, spec)
    if isinstance(spec, dict) and spec.get("class_name") == "MeanMetricWrapper":
        return metrics.deserialize(spec, custom_objects)        # whose config holds its function and that one's arguments
    return revive(metrics, spec, custom_objects, who)


def _only(value, what):
    """What stands in a list of one, as Keras writes it for models that could have several outputs."""
    if isinstance(value, list):
        if len(value) != 1:
            raise FileError(f"{what[0].upper()}{what[1:]} of compile is a list of {len(value)}; tdfast's models have one output.")
        return value[0]
    return value


def _metric_list(value):
    """Keras writes None, a list, or a list of one list."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise FileError(f"The metrics of compile must be a list, got {value!r}.")
    return _only(value, "the list of metrics") if value and isinstance(value[0], list) else value


def _load_optimizer(model, store):
    """The optimizer's state; the file has only its first two numbers if it had not stepped yet."""
    paths = sorted(int(p.rsplit("/", 1)[1]) for p in store.paths() if re.fullmatch(r"optimizer/vars/\d{1,9}", p))
    if not paths or model.optimizer is None:
        return
    optimizer = model.optimizer
    if model.built and len(paths) > len(optimizer.variables):
        model._ready_to_train()
    expected = [(name, np.shape(a)) for name, a in optimizer.variables]
    if paths != list(range(len(expected))):
        raise FileError(
            f"The state of optimizer '{optimizer.name}' ({type(optimizer).__name__}) in '{store.name}' has {len(paths)} "
            f"arrays, but {len(expected)} are expected."
        )
    for i, (name, shape) in enumerate(expected):
        stored = store.shape(f"optimizer/vars/{i}")
        if stored != shape:
            raise FileError(
                f"The state of optimizer '{optimizer.name}' ({type(optimizer).__name__}) does not fit the model: {name} "
                f"should have shape {shape}, but in '{store.name}' it has shape {stored}."
            )
    for i, (name, array) in enumerate(optimizer.variables):
        value = store.read(f"optimizer/vars/{i}")
        if name == "iteration":
            optimizer.steps = int(value)
        elif name == "learning_rate":
            # Stored in float32; the config may know the same number more exactly.
            if np.float32(optimizer.learning_rate) != value:
                optimizer.learning_rate = float(value)
        else:
            array[...] = value


def _compile_config(model):
    """Keras's description of how a model was compiled; empty if it was not."""
    from tdfast import losses, metrics, optimizers

    if not model.compiled:
        return {}
    specs = {False: [], True: []}
    for spec, weighted in model._metric_specs:
        specs[weighted].append(metrics.serialize(spec))
    return {
        "optimizer": optimizers.serialize(model.optimizer),
        "loss": losses.serialize(model.loss),
        "loss_weights": None,
        "metrics": specs[False] or None,
        "weighted_metrics": specs[True] or None,
        "run_eagerly": False,
        "steps_per_execution": 1,
        "jit_compile": False,
    }


# ------------------------------------------------------------------------------------------ writing
def save_model(model, filepath, overwrite=True):
    """Write a model to a .keras file that Keras 3 and tdfast read.

    The file holds the layers, the weights and, for a compiled model, loss, metrics, optimizer and its
    state. It takes the place of an older one only when it is complete and on the disk.

    Args:
        model: a `tdfast.Sequential`.
        filepath: a path that ends in ".keras".
        overwrite: False refuses to replace an existing file.

    Raises:
        ValueError: for another ending.
        FileExistsError: with overwrite=False.
        ImportError: without h5py, naming the extra to install.

    Source: https://keras.io/api/models/model_saving_apis/model_saving_and_loading/
    """
    filepath = os.fspath(filepath)
    if not filepath.endswith(".keras"):
        raise ValueError(f"save_model: the path must end in '.keras', got {filepath!r}.")
    if not overwrite and os.path.exists(filepath):
        raise FileExistsError(f"save_model: '{filepath}' exists, and overwrite=False.")
    config = serialize_layer(model)
    config["compile_config"] = _compile_config(model)
    weights = io.BytesIO()
    write_h5(_groups(model), weights)
    metadata = {"keras_version": KERAS_VERSION, "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S"),
                "tdfast_version": version.__version__}
    with replacing(filepath) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights.getbuffer())


def _groups(model):
    """(path, name, arrays) of each layer and of the optimizer."""
    seen = set()

    def walk(layer, path):
        if id(layer) in seen:
            return
        seen.add(id(layer))
        arrays = [w.value for kind in (True, False) for w in layer._weights if w.made_trainable is kind]
        if _has_cell(layer):
            yield path, layer.name, []
            yield f"{path}/cell", layer.cell_name, arrays
        else:
            yield path, layer.name, arrays
        if isinstance(layer, Sequential):
            yield from walk_all(layer.layers, f"{path}/layers".lstrip("/"))
        for key, inner in sublayers_by_attribute(layer):
            yield from walk(inner, f"{path}/{key}".lstrip("/"))

    def walk_all(layers, path):
        keys = child_keys([type(layer).__name__ for layer in layers])
        for key, layer in zip(keys, layers):
            yield from walk(layer, f"{path}/{key}")

    from tdfast.models import Sequential

    yield from walk(model, "")
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        yield "optimizer", optimizer.name, [_as_keras(name, array) for name, array in optimizer.variables]


def _as_keras(name, array):
    return np.asarray(array, np.int32) if name == "iteration" else array
