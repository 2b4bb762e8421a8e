"""Callbacks: what runs between the batches and epochs of fit, evaluate and predict.

The protocol is that of https://keras.io/api/callbacks/.
"""

import warnings

from tdfast.names import snake_case

_HOOKS = (
    "on_epoch_begin", "on_epoch_end",
    "on_train_begin", "on_train_end", "on_train_batch_begin", "on_train_batch_end",
    "on_test_begin", "on_test_end", "on_test_batch_begin", "on_test_batch_end",
    "on_predict_begin", "on_predict_end", "on_predict_batch_begin", "on_predict_batch_end",
    "on_batch_begin", "on_batch_end",
)


class Callback:
    """The base class: override the hooks you need.

    ``self.model`` is the model; setting ``self.model.stop_training = True`` ends `fit` after the epoch.
    ``self.params`` is a dict with 'verbose', 'epochs' and 'steps'. ``logs`` maps the names of the loss
    and metrics to floats; those of a batch are the means since the epoch began.

    >>> class Printer(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(epoch, sorted(logs))
    >>> Printer().on_epoch_end(0, {"loss": 0.5})
    0 ['loss']
    """

    def __init__(self):
        self.params = None
        self._model = None

    @property
    def model(self):
        return self._model

    def set_params(self, params):
        self.params = params

    def set_model(self, model):
        self._model = model

    def on_batch_begin(self, batch, logs=None):
        """The same as `on_train_batch_begin`."""

    def on_batch_end(self, batch, logs=None):
        """The same as `on_train_batch_end`."""

    def on_epoch_begin(self, epoch, logs=None):
        """Before an epoch of `fit`; epochs count from 0."""

    def on_epoch_end(self, epoch, logs=None):
        """After an epoch and its validation, whose names begin with 'val_'."""

    def on_train_batch_begin(self, batch, logs=None):
        """Before a batch of `fit`; batches count from 0 in each epoch."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch, logs=None):
        """After a batch of `fit`."""
        self.on_batch_end(batch, logs=logs)

    def on_test_batch_begin(self, batch, logs=None):
        """Before a batch of `evaluate` or of the validation in `fit`."""

    def on_test_batch_end(self, batch, logs=None):
        """After a batch of `evaluate` or of the validation in `fit`."""

    def on_predict_batch_begin(self, batch, logs=None):
        """Before a batch of `predict`."""

    def on_predict_batch_end(self, batch, logs=None):
        """After a batch of `predict`; ``logs["outputs"]`` is its result."""

    def on_train_begin(self, logs=None):
        """When `fit` begins."""

    def on_train_end(self, logs=None):
        """When `fit` ends; ``logs`` are those of the last epoch."""

    def on_test_begin(self, logs=None):
        """When `evaluate`, or a validation in `fit`, begins."""

    def on_test_end(self, logs=None):
        """When `evaluate`, or a validation in `fit`, ends."""

    def on_predict_begin(self, logs=None):
        """When `predict` begins."""

    def on_predict_end(self, logs=None):
        """When `predict` ends."""

    def needs_batches(self, kind):
        """Whether the batch hooks of 'train', 'test' or 'predict' have to be called."""
        names = [f"on_{kind}_batch_begin", f"on_{kind}_batch_end"]
        if kind == "train":
            names += ["on_batch_begin", "on_batch_end"]
        return any(_overrides(self, name) for name in names)


def _overrides(callback, name):
    """Whether a class or an object defines a hook of its own; objects of other classes count as they do."""
    method = getattr(callback, name, None)
    return method is not None and getattr(method, "__func__", method) is not getattr(Callback, name)


class CallbackList(Callback):
    """Several callbacks called as one, with a `History` among them.

    A batch costs nothing when no callback looks at batches: the loop asks `has_batch_hooks`,
    `has_test_batch_hooks` and `has_predict_batch_hooks` first. ``logs`` of a batch may be a function
    that makes the dict; it is called once, and only if somebody needs it.

    Args:
        callbacks: None, one callback, a list (lists within it too), or a `CallbackList`.
        model: handed to each.
        params: dict with 'verbose', 'epochs', 'steps', handed to each.
        add_history: add a `History` if there is none; it becomes ``model.history``.

    Attributes:
        history: the `History`, or None.

    >>> calls = CallbackList(LambdaCallback(on_train_begin=lambda logs: print("begin")))
    >>> calls.on_train_begin(), calls.has_batch_hooks
    begin
    (None, False)
    """

    def __init__(self, callbacks=None, model=None, params=None, add_history=True):
        super().__init__()
        self.callbacks = _flat(callbacks)
        for callback in self.callbacks:
            if isinstance(callback, type) or not hasattr(callback, "on_epoch_end"):
                raise ValueError(
                    f"callbacks must be objects of classes derived from tdfast.callbacks.Callback, got "
                    f"{callback!r}." + (" Make an object of it: add ()." if isinstance(callback, type) else "")
                )
        self.history = next((c for c in self.callbacks if isinstance(c, History)), None)
        if self.history is None and add_history:
            self.history = History()
            self.callbacks.append(self.history)
        self.set_model(model)
        self.set_params(params)

    def append(self, callback):
        """Add one more, called after the others."""
        callback.set_model(self.model)
        callback.set_params(self.params)
        self.callbacks.append(callback)
        self._look()

    def set_model(self, model):
        self._model = model
        if model is not None and self.history is not None:
            model.history = self.history
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params):
        self.params = params
        for callback in self.callbacks:
            callback.set_params(params)
        self._look()

    def _look(self):
        """Find out who wants to be called at batches."""
        kinds = ("train", "test", "predict")
        self._batch = {kind: [c for c in self.callbacks if _needs_batches(c, kind)] for kind in kinds}
        self.has_batch_hooks = bool(self._batch["train"])
        self.has_test_batch_hooks = bool(self._batch["test"])
        self.has_predict_batch_hooks = bool(self._batch["predict"])

    def needs_batches(self, kind):
        return bool(self._batch[kind])

    def on_train_batch_begin(self, batch, logs=None):
        for callback in self._batch["train"]:
            callback.on_train_batch_begin(batch, logs=_plain(logs))

    def on_train_batch_end(self, batch, logs=None):
        self._batch_end("train", batch, logs)

    def on_test_batch_begin(self, batch, logs=None):
        for callback in self._batch["test"]:
            callback.on_test_batch_begin(batch, logs=_plain(logs))

    def on_test_batch_end(self, batch, logs=None):
        self._batch_end("test", batch, logs)

    def on_predict_batch_begin(self, batch, logs=None):
        for callback in self._batch["predict"]:
            callback.on_predict_batch_begin(batch, logs=_plain(logs))

    def on_predict_batch_end(self, batch, logs=None):
        self._batch_end("predict", batch, logs)

    def _batch_end(self, kind, batch, logs):
        made = None
        for callback in self._batch[kind]:
            # A progress bar that was drawn a moment ago needs no numbers now.
            due = getattr(callback, "due", None)
            if due is not None and not due(kind, batch):
                continue
            made = _plain(logs) if made is None else made
            getattr(callback, f"on_{kind}_batch_end")(batch, logs=made)

    def on_batch_begin(self, batch, logs=None):
        self.on_train_batch_begin(batch, logs)

    def on_batch_end(self, batch, logs=None):
        self.on_train_batch_end(batch, logs)

    def on_epoch_begin(self, epoch, logs=None):
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, _plain(logs))

    def on_epoch_end(self, epoch, logs=None):
        logs = _plain(logs)
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)

    def on_train_begin(self, logs=None):
        for callback in self.callbacks:
            callback.on_train_begin(_plain(logs))

    def on_train_end(self, logs=None):
        for callback in self.callbacks:
            callback.on_train_end(_plain(logs))

    def on_test_begin(self, logs=None):
        for callback in self.callbacks:
            callback.on_test_begin(_plain(logs))

    def on_test_end(self, logs=None):
        for callback in self.callbacks:
            callback.on_test_end(_plain(logs))

    def on_predict_begin(self, logs=None):
        for callback in self.callbacks:
            callback.on_predict_begin(_plain(logs))

    def on_predict_end(self, logs=None):
        for callback in self.callbacks:
            callback.on_predict_end(_plain(logs))


def _needs_batches(callback, kind):
    # A callback need not derive from Callback, as long as it has the hooks.
    return callback.needs_batches(kind) if hasattr(callback, "needs_batches") else True


def _flat(callbacks):
    if callbacks is None:
        return []
    if isinstance(callbacks, CallbackList):
        return list(callbacks.callbacks)
    if isinstance(callbacks, (list, tuple)):
        return [inner for c in callbacks for inner in _flat(c)]
    return [callbacks]


def _plain(logs):
    """A dict of logs, made if it is a function's, with plain floats in it, sorted by name as in Keras."""
    if callable(logs):
        logs = logs()
    out = {}
    for key, value in sorted((logs or {}).items()):
        # Only scalars become floats: predict's logs hold arrays.
        out[key] = float(value) if getattr(value, "ndim", 0) == 0 and hasattr(value, "__float__") else value
    return out


class History(Callback):
    """Keeps the logs of each epoch; `fit` returns it.

    Attributes:
        history: dict from name to the list of its values, one per epoch, plain floats.
        epoch: the epochs' numbers.

    >>> history = History()
    >>> history.on_train_begin()
    >>> history.on_epoch_end(0, {"loss": 0.5})
    >>> history.history, history.epoch
    ({'loss': [0.5]}, [0])
    """

    def __init__(self):
        super().__init__()
        self.history = {}
        self.epoch = []

    def on_train_begin(self, logs=None):
        self.epoch = []

    def on_epoch_end(self, epoch, logs=None):
        self.epoch.append(epoch)
        for key, value in (logs or {}).items():
            self.history.setdefault(key, []).append(value)
        if self.model is not None:
            self.model.history = self


class LambdaCallback(Callback):
    """A callback made of functions: ``LambdaCallback(on_epoch_end=lambda epoch, logs: ...)``.

    Args:
        on_epoch_begin, on_epoch_end: functions of (epoch, logs).
        on_train_begin, on_train_end: functions of (logs).
        on_train_batch_begin, on_train_batch_end: functions of (batch, logs); the second is handed over
            by its name, logs.
        others: any further hook of `Callback`, by name.

    Raises:
        ValueError: for a name that is no hook, or something that cannot be called.

    >>> LambdaCallback(on_train_end=lambda logs: print("done")).on_train_end({})
    done
    """

    def __init__(self, on_epoch_begin=None, on_epoch_end=None, on_train_begin=None, on_train_end=None,
                 on_train_batch_begin=None, on_train_batch_end=None, **others):
        super().__init__()
        hooks = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **others,
        }
        for name, function in hooks.items():
            if name not in _HOOKS:
                raise ValueError(f"LambdaCallback: {name!r} is no hook. The hooks are {', '.join(_HOOKS)}.")
            if function is None:
                continue
            if not callable(function):
                raise ValueError(f"LambdaCallback: {name} must be a function, got {function!r}.")
            setattr(self, name, function)


class MonitorCallback(Callback):
    """The part that callbacks watching one number share: is it better than it was?

    Args:
        monitor: its name in the logs.
        mode: 'min', 'max' or 'auto', which goes by the metric.
        min_delta: a smaller change is none.
    """

    def __init__(self, monitor="val_loss", mode="auto", min_delta=0):
        super().__init__()
        if mode not in ("auto", "min", "max"):
            warnings.warn(
                f"{type(self).__name__}: mode {mode!r} is unknown; 'auto' is used instead. "
                "The modes are 'auto', 'min' and 'max'.",
                stacklevel=3,
            )
            mode = "auto"
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(min_delta)
        self.best = None

    def is_improvement(self, value, reference):
        """Whether ``value`` beats ``reference`` by more than `min_delta`; anything beats None."""
        if reference is None:
            return True
        if self._direction() == "min":
            return value + self.min_delta < reference
        return value - self.min_delta > reference

    def _direction(self):
        if self.mode != "auto":
            return self.mode
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return "min"
        for metric in getattr(self.model, "metrics", None) or []:
            if getattr(metric, "name", None) == name:
                direction = getattr(metric, "direction", None) or _direction_of(name, type(metric).__name__)
                if direction is not None:
                    return {"up": "max", "down": "min"}.get(direction, direction)
        direction = _direction_of(name)
        if direction is None:
            raise ValueError(
                f"{type(self).__name__}: whether '{self.monitor}' should become small or large is not "
                "known. Pass mode='min' or mode='max'."
            )
        return direction

    def monitored(self, logs):
        """The watched number, or None after a warning."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            warnings.warn(
                f"{type(self).__name__} watches '{self.monitor}', which is not among the metrics of this "
                f"epoch: {', '.join(logs or {}) or 'none'}.",
                stacklevel=3,
            )
        elif getattr(value, "ndim", 0):
            raise ValueError(
                f"{type(self).__name__} watches '{self.monitor}', which is {value.size} numbers: give the metric an average, "
                "or watch another."
            )
        return value


_LARGE_IS_GOOD = ("acc", "auc", "precision", "recall", "specificity", "sensitivity", "f1", "fbeta", "iou",
                  "r2", "cosine_similarity", "true_positives", "true_negatives")
_SMALL_IS_GOOD = ("loss", "error", "mse", "mae", "mape", "msle", "rmse", "entropy", "ce", "hinge", "huber",
                  "log_cosh", "logcosh", "poisson", "divergence", "false_positives", "false_negatives")


def _direction_of(*names):
    """'max' or 'min' for a metric, by its name and its class's; None if neither tells."""
    for name in names:
        words = snake_case(name)
        parts = set(words.split("_"))
        for direction, hints in (("max", _LARGE_IS_GOOD), ("min", _SMALL_IS_GOOD)):
            # Short hints must be whole words: "ce" is in "distance".
            if any(h in parts if len(h) <= 3 and h != "acc" else h in words for h in hints):
                return direction
    return None


class EarlyStopping(MonitorCallback):
    """Ends `fit` when a number has not improved for some epochs.

    Source: https://keras.io/api/callbacks/early_stopping/.

    Args:
        monitor: the number's name in the logs, default 'val_loss'.
        min_delta: an improvement of this much or less is none. Default 0.
        patience: how many epochs without improvement end the training. Default 0.
        verbose: 1 says when it acts.
        mode: 'min', 'max', or 'auto' (default), which goes by the metric.
        baseline: only improvements over this value start the count of epochs again.
        restore_best_weights: True gives the model the weights of its best epoch at the end.
        start_from_epoch: the epochs before this one do not count.

    Raises:
        ValueError: in 'auto' mode, for a number whose direction is not known.

    >>> EarlyStopping(monitor="loss", patience=3).patience
    3
    """

    def __init__(self, monitor="val_loss", min_delta=0, patience=0, verbose=0, mode="auto", baseline=None,
                 restore_best_weights=False, start_from_epoch=0):
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self.on_train_begin()

    def on_train_begin(self, logs=None):
        self.wait = 0
        self.stopped_epoch = 0
        self.best = None
        self.best_weights = None
        self.best_epoch = 0

    def on_epoch_end(self, epoch, logs=None):
        self._direction()  # an unknown one is an error in the first epoch, not the second
        current = self.monitored(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._keep(epoch)
        self.wait += 1
        if self.is_improvement(current, self.best):
            self.best = current
            self._keep(epoch)
            if self.baseline is None or self.is_improvement(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _keep(self, epoch):
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()

    def on_train_end(self, logs=None):
        if self.stopped_epoch > 0 and self.verbose > 0:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose > 0:
                print(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)
