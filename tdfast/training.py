"""compile, fit, evaluate and predict: the training loop.

`Trainer.train_step` is the whole algorithm on one screen.
"""

import contextlib
import math
import signal
import threading

import numpy as np

from tdfast import data, losses, metrics, optimizers, random
from tdfast.callbacks import CallbackList
from tdfast.layers.base import Record, Tape
from tdfast.progress import ProgressBar
from tdfast.variables import Parameters

PREDICT_BYTES = 2**24
PREDICT_ROWS = 252
"""What predict works on at once: see `Trainer._rows_per_pass`. Rows in multiples of the kernels' tile."""


class Trainer:
    """What a model can do beyond a layer: learn, be measured, and predict."""

    def __init__(self):
        self.optimizer = self.loss = None
        self.compiled = False
        self.stop_training = False
        self.history = None
        self._parameters = None
        self._tape = Tape()
        self._buffers = Record(self)
        self._idle_tapes = []       # for inference; each call takes one, so that threads do not meet
        self._reset_compiled_metrics([], [])

    # ---------------------------------------------------------------- compile
    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, weighted_metrics=None,
                run_eagerly=False, steps_per_execution=1, jit_compile="auto", auto_scale_loss=True):
        """Choose how to train.

        Args:
            optimizer: a name or object of `tdfast.optimizers`.
            loss: a name or object of `tdfast.losses`.
            metrics, weighted_metrics: lists of names or objects of `tdfast.metrics`. Only the weighted
                ones use sample_weight. 'accuracy' is the one that fits the loss and the shapes.
            run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: accepted for Keras's sake.
                They tell Keras how to run a step; tdfast has one way, which gives the same numbers.

        Raises:
            ValueError: for a name that is not known; the text lists the known ones.
        """
        if loss_weights is not None:
            raise ValueError("loss_weights is for models of several outputs; a Sequential model has one loss.")
        optimizer = optimizers.get(optimizer)
        loss = None if loss is None else losses.get(_only(loss, "loss"))
        if loss is not None and loss.reduction in (None, "none"):
            raise ValueError(f"Loss '{loss.name}' has reduction=None, but training needs one number: use 'sum_over_batch_size'.")
        plain, weighted = _metric_specs(metrics, "metrics"), _metric_specs(weighted_metrics, "weighted_metrics")
        self.optimizer, self.loss = optimizer, loss
        self._reset_compiled_metrics(plain, weighted)
        self.compiled = True
        self.stop_training = False

    def _reset_compiled_metrics(self, plain, weighted):
        self._metric_specs = [(spec, False) for spec in plain] + [(spec, True) for spec in weighted]
        self._metrics = None
        self._loss_tracker = metrics.Mean(name="loss")

    @property
    def metrics(self):
        """The loss's running mean, then the metrics."""
        return ([self._loss_tracker] if self.compiled else []) + [m for m, _ in self._metrics or []]

    @property
    def metrics_names(self):
        return [m.name for m in self.metrics]

    def reset_metrics(self):
        """Start all running means again."""
        for metric in self.metrics:
            metric.reset_state()

    def _make_metrics(self, y, y_pred):
        """Names into objects, now that the shapes are known."""
        made = []
        for spec, weighted in self._metric_specs:
            if isinstance(spec, str):
                metric = metrics.for_loss(spec, self.loss, y.shape, y_pred.shape)
                metric = metrics.get(spec) if metric is None else metric
                metric.name = spec
            else:
                metric = spec
            made.append((metric, weighted))
        self._metrics = made

    def _require_compiled(self, who):
        if not self.compiled:
            raise ValueError(f"{who}: call compile(optimizer=..., loss=...) before {who}.")
        if self.loss is None:
            raise ValueError(f"{who}: the model was compiled without a loss. Call compile(optimizer=..., loss=...).")

    # ---------------------------------------------------------------- one step
    def train_step(self, x, y, sample_weight=None, where=""):
        """Forward, loss, backward, update: the loss of this batch before the update."""
        tape = self._tape
        tape.rewind()
        y_pred = self.forward(x, tape, training=True)
        mask = tape.records[0].mask
        value, dy = self.loss.value_and_grad(y, y_pred, sample_weight, mask, workspace=self._buffers)
        value += self._penalty(tape)
        if not math.isfinite(value):
            raise FloatingPointError(self._explain(x, y_pred, value, where))
        if self._metric_specs:
            self._update_metrics(y, y_pred, sample_weight, mask)
        self.backward(dy, tape, need_dx=False)
        for v in self._regularized:
            v.grad[...] += v.regularizer.gradient(v.value)
        self.optimizer.apply()
        self._loss_tracker.add(value * len(x), len(x))
        return value

    def test_step(self, x, y, sample_weight, tape):
        """The loss of this batch, and the metrics, without learning."""
        tape.rewind()
        y_pred = self.forward(x, tape)
        mask = tape.records[0].mask
        value, _ = self.loss.value_and_grad(y, y_pred, sample_weight, mask, workspace=self._buffers, need_grad=False)
        value += self._penalty(tape)
        if self._metric_specs:
            self._update_metrics(y, y_pred, sample_weight, mask)
        self._loss_tracker.add(value * len(x), len(x))
        return value

    def _penalty(self, tape):
        """The regularizers' part of the loss."""
        total = sum(float(v.regularizer(v.value)) for v in self._regularized)
        return total + self.activity_penalty(tape) if self._active else total

    def _update_metrics(self, y, y_pred, sample_weight, mask):
        if self._metrics is None:
            self._make_metrics(y, y_pred)
        for metric, weighted in self._metrics:
            metric.update_state(y, y_pred, sample_weight if weighted else None, mask=mask, workspace=self._buffers)

    def _logs(self):
        return {m.name: float(m.result()) for m in self.metrics}

    def _explain(self, x, y_pred, value, where):
        """Why the loss is not a number: the first layer whose weights or outputs are not finite."""
        tape, start = Tape(keep=False), f"The loss became {value}{where}"
        h, mask = x, None
        if not np.isfinite(x).all():
            return f"{start}: the inputs hold NaN or infinity. The weights are those of the step before."
        for layer in self.layers:
            bad = [w.name for w in layer.weights if not np.isfinite(w.value).all()]
            y = layer.forward(h, tape, training=False, mask=mask)
            what = f"its weight '{bad[0]}' is" if bad else None if np.isfinite(y).all() else "its output is"
            if what:
                return (
                    f"{start}. It began in layer '{layer.name}' ({type(layer).__name__}): {what} not finite. Try a "
                    "smaller learning_rate or clipnorm=1. The weights are those of the step before."
                )
            mask = layer.compute_mask(h, mask)
            h = y
        return (
            f"{start}. Every layer's output is finite, so it began in the loss '{self.loss.name}': check that the "
            "targets are finite and fit it. The weights are those of the step before."
        )

    # ---------------------------------------------------------------- preparation
    def _ready_to_train(self):
        """Put the weights into flat vectors, and the optimizer on top of them."""
        variables, trainable = self.weights, self.trainable_weights
        if self._parameters is None or not self._parameters.is_current(variables):
            self._parameters = Parameters(variables)
        optimizer = self.optimizer
        if (not optimizer.built or optimizer.parameters is not self._parameters
                or [id(v) for v in optimizer.trainable_variables] != [id(v) for v in trainable]):
            optimizer.build(self._parameters, trainable)
        self._note_penalties()

    def _note_penalties(self):
        self._regularized = [v for v in self.trainable_weights if v.regularizer is not None]
        self._active = any(
            layer.activity_regularizer is not None for layer in _all_layers(self)
        )

    def _check(self, x, y, sample_weight, class_weight, who):
        """Inputs, targets and weights as arrays that fit the model; builds it if need be."""
        x = data.check_inputs(x, self.as_input, who)
        self.ensure_built((None, *x.shape[1:]), x.shape)
        y = data.check_targets(y, len(x), self.dtype, self.loss.sparse, who)
        self.loss.check(y.shape, self.compute_output_shape(x.shape))
        weight = data.check_sample_weight(sample_weight, len(x), self.dtype, who)
        if class_weight is not None:
            if weight is not None:
                raise ValueError(f"{who}: give sample_weight or class_weight, not both.")
            weight = data.class_weight_to_sample_weight(class_weight, y, self.dtype)
        return x, y, weight

    @contextlib.contextmanager
    def _inference_tape(self):
        """A tape of this call's own; its buffers serve a later call."""
        try:
            tape = self._idle_tapes.pop()
        except IndexError:
            tape = Tape(keep=False)
        tape.version = object()
        try:
            yield tape
        finally:
            tape.rewind()
            tape.version = None
            if len(self._idle_tapes) < 4:
                self._idle_tapes.append(tape)

    # ---------------------------------------------------------------- fit
    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, validation_split=0.0,
            validation_data=None, shuffle=True, class_weight=None, sample_weight=None, initial_epoch=0,
            steps_per_epoch=None, validation_steps=None, validation_batch_size=None, validation_freq=1):
        """Train for some epochs.

        Args:
            x: inputs, samples on the first axis.
            y: targets, as many samples.
            batch_size: samples of one update; None is 32.
            epochs: the number of the last epoch; each sees every sample once.
            verbose: 0 is silent, 1 or 'auto' shows a bar (one line an epoch where the output is not a
                terminal), 2 a line an epoch.
            callbacks: a list of `tdfast.callbacks.Callback`.
            validation_split: this last fraction of the samples is kept apart and measured each epoch.
            validation_data: (x, y) or (x, y, sample_weight) to measure instead.
            shuffle: a new random order in each epoch.
            class_weight: a dict from class to its weight in the loss.
            sample_weight: a weight for each sample, (N,), or for each step of each, (N, T).
            initial_epoch: where to go on counting.
            steps_per_epoch, validation_steps: at most so many batches; None: all.
            validation_batch_size: None: batch_size.
            validation_freq: measure every so many epochs, or a list of epochs.

        Returns:
            The `History`: ``history.history["loss"]`` is a list of floats, one an epoch.

        Raises:
            ValueError: for data that does not fit, before anything changes.
            FloatingPointError: when the loss is no longer a number; the weights of the last good step
                and the history stay.

        Ctrl-C ends training after the step that runs, with its weights and the history so far kept in
        ``model.history``.
        """
        self._require_compiled("fit")
        x, y, weight = self._check(x, y, sample_weight, class_weight, "fit")
        batch_size = data.check_batch_size(batch_size, "fit")
        epochs, initial_epoch = data.check_count(epochs, "fit: epochs"), data.check_count(initial_epoch, "fit: initial_epoch")
        validation_batch_size = data.check_batch_size(validation_batch_size or batch_size, "fit")
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
                raise ValueError("validation_data must be (x, y) or (x, y, sample_weight).")
            extra = validation_data[2] if len(validation_data) == 3 else None
            held_out = self._check(*validation_data[:2], extra, None, "fit's validation_data")
        elif validation_split:
            (x, y, weight), held_out = data.split_validation([x, y, weight], validation_split)
        else:
            held_out = None
        train = data.Batches([x, y, weight], batch_size, self._buffers, steps_per_epoch)
        test = held_out and data.Batches(held_out, validation_batch_size, self._buffers, validation_steps)
        self._ready_to_train()
        bar = ProgressBar(verbose, epochs, train.steps)
        calls = CallbackList(
            [*(callbacks if isinstance(callbacks, (list, tuple)) else [callbacks] if callbacks else []), bar],
            model=self, params={"verbose": verbose, "epochs": epochs, "steps": train.steps},
        )
        self.stop_training = False
        calls.on_train_begin()
        logs = {}
        try:
            with _Interrupts() as interrupts:
                for epoch in range(initial_epoch, epochs):
                    calls.on_epoch_begin(epoch)
                    logs = self._train_epoch(train, epoch, shuffle, calls, interrupts)
                    if test and _is_due(epoch, validation_freq):
                        logs.update({f"val_{k}": v for k, v in self._evaluate(test, calls).items()})
                    calls.on_epoch_end(epoch, logs)
                    if self.stop_training:
                        break
        finally:
            bar.close()
        self.optimizer.finalize_variable_values()
        calls.on_train_end(logs)
        return self.history

    def _train_epoch(self, batches, epoch, shuffle, calls, interrupts):
        self.reset_metrics()
        order = random.generator().permutation(batches.samples) if shuffle else None
        for i, (x, y, weight) in enumerate(batches(order)):
            if calls.has_batch_hooks:
                calls.on_train_batch_begin(i)
            with interrupts.held():
                self.train_step(x, y, weight, f" in epoch {epoch + 1}, batch {i + 1}")
            if calls.has_batch_hooks:
                calls.on_train_batch_end(i, self._logs)
                if self.stop_training:
                    break
        return self._logs()

    def _evaluate(self, batches, calls):
        self.reset_metrics()
        calls.on_test_begin()
        with self._inference_tape() as tape:
            for i, (x, y, weight) in enumerate(batches()):
                if calls.has_test_batch_hooks:
                    calls.on_test_batch_begin(i)
                self.test_step(x, y, weight, tape)
                if calls.has_test_batch_hooks:
                    calls.on_test_batch_end(i, self._logs)
        logs = self._logs()
        calls.on_test_end(logs)
        return logs

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, steps=None,
                 callbacks=None, return_dict=False):
        """The loss and the metrics on some data.

        Returns:
            The loss, or a list with the metrics behind it; a dict by name with return_dict.
        """
        self._require_compiled("evaluate")
        arrays = self._check(x, y, sample_weight, None, "evaluate")
        batches = data.Batches(arrays, data.check_batch_size(batch_size, "evaluate"), self._buffers, steps)
        self._note_penalties()
        bar = ProgressBar(verbose, 1, batches.steps)
        calls = CallbackList([*(callbacks or []), bar], model=self, add_history=False,
                             params={"verbose": verbose, "epochs": 1, "steps": batches.steps})
        try:
            logs = self._evaluate(batches, calls)
        finally:
            bar.close()
        return logs if return_dict else self._in_order(logs)

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """The outputs for some inputs.

        Args:
            x: inputs, samples on the first axis.
            batch_size: samples of one batch, for callbacks, the bar and ``steps``; None is 32. No result
                depends on it, and tdfast joins or cuts batches as suits the cache.
            verbose, callbacks: as in `fit`.
            steps: at most so many batches; None: all.

        Returns:
            An array with one row for each sample.
        """
        x = data.check_inputs(x, self.as_input, "predict")
        self.ensure_built((None, *x.shape[1:]), x.shape)
        batches = data.Batches([x], data.check_batch_size(batch_size, "predict"), self._buffers, steps)
        bar = ProgressBar(verbose, 1, batches.steps)
        calls = CallbackList([*(callbacks or []), bar], model=self, add_history=False,
                             params={"verbose": verbose, "epochs": 1, "steps": batches.steps})
        calls.on_predict_begin()
        try:
            if calls.has_predict_batch_hooks or self._is_stateful():
                out = self._predict(batches, calls)
            else:
                rows = self._rows_per_pass(x, batches.batch_size)
                wanted = x[: batches.steps * batches.batch_size]
                out = self._predict(data.Batches([wanted], rows, self._buffers), calls)
        finally:
            bar.close()
        calls.on_predict_end()
        return out if len(out) > 1 else out[0]

    def _predict(self, batches, calls):
        """The outputs of all batches, as a list of arrays (more than one with return_state)."""
        out, start, loan = None, 0, None
        with self._inference_tape() as tape:
            try:
                for i, (rows,) in enumerate(batches()):
                    calls.on_predict_batch_begin(i)
                    tape.rewind()
                    if loan is not None:                # the last layer writes where the result belongs
                        loan.lend(out[0][start : start + len(rows)])
                    y = self.forward(rows, tape)
                    parts = y if isinstance(y, list) else [y]
                    if out is None:
                        n = min(batches.steps * batches.batch_size, batches.samples)
                        out = [np.empty((n, *part.shape[1:]), part.dtype) for part in parts]
                        loan = tape.lender_of(y) if len(parts) == 1 else None
                    for whole, part in zip(out, parts):
                        place = whole[start : start + len(part)]
                        if not np.may_share_memory(place, part):
                            place[...] = part
                    start += len(rows)
                    calls.on_predict_batch_end(i, {"outputs": y})
            finally:
                if loan is not None:
                    loan.end()
        return out

    def _is_stateful(self):
        return any(getattr(layer, "stateful", False) for layer in _all_layers(self))

    def _rows_per_pass(self, x, batch_size):
        """How many rows predict takes at once: no result depends on it, so it is chosen for the cache.

        Small batches are joined and large ones cut, such that all layers' outputs take some 16 MB.
        """
        shape, values = x.shape, math.prod(x.shape[1:])
        for layer in self.layers:
            shape = layer.compute_output_shape(shape)
            if isinstance(shape, list):
                shape = shape[0]
            values += math.prod(shape[1:])
        fitting = PREDICT_BYTES // (values * x.itemsize)
        return max(min(batch_size, 12), min(PREDICT_ROWS, fitting // 12 * 12))

    # ---------------------------------------------------------------- single batches
    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """One update on one batch: its loss, or a list with the metrics behind it."""
        self._require_compiled("train_on_batch")
        x, y, weight = self._check(x, y, sample_weight, class_weight, "train_on_batch")
        self._ready_to_train()
        self.reset_metrics()
        with _Interrupts() as interrupts, interrupts.held():
            self.train_step(x, y, weight)
        logs = self._logs()
        return logs if return_dict else self._in_order(logs)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """The loss and the metrics of one batch."""
        self._require_compiled("test_on_batch")
        x, y, weight = self._check(x, y, sample_weight, None, "test_on_batch")
        self._note_penalties()
        self.reset_metrics()
        with self._inference_tape() as tape:
            self.test_step(x, y, weight, tape)
        logs = self._logs()
        return logs if return_dict else self._in_order(logs)

    def predict_on_batch(self, x):
        """The outputs for one batch."""
        return self.predict(x, batch_size=max(len(x), 1), verbose=0)

    def _in_order(self, logs):
        values = [logs[name] for name in self.metrics_names]
        return values[0] if len(values) == 1 else values


class _Interrupts:
    """Ctrl-C during a step takes effect right after it, so that an update is whole or not begun."""

    def __enter__(self):
        self.holding = self.pending = False
        self.old = None
        if threading.current_thread() is threading.main_thread():
            old = signal.getsignal(signal.SIGINT)
            if old is signal.default_int_handler:
                self.old = old
                signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error):
        if self.old is not None:
            signal.signal(signal.SIGINT, self.old)

    def _handle(self, number, frame):
        if self.holding and not self.pending:
            self.pending = True
        else:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self):
        self.holding = True
        try:
            yield
        finally:
            self.holding = False
        if self.pending:
            raise KeyboardInterrupt


def _all_layers(layer):
    for inner in layer.sublayers():
        yield inner
        yield from _all_layers(inner)


def _only(loss, what):
    """The only entry of a list or dict that Keras would accept for one output."""
    if isinstance(loss, (list, tuple)):
        if len(loss) != 1:
            raise ValueError(f"A Sequential model has one output, but {what} has {len(loss)} entries.")
        return loss[0]
    return loss


def _metric_specs(given, what):
    """Names that `metrics.for_loss` decides on stay names; everything else becomes an object now."""
    if given is None:
        return []
    if not isinstance(given, (list, tuple)):
        raise ValueError(f"{what} must be a list, such as ['accuracy'], got {given!r}.")
    out = []
    for spec in given:
        if isinstance(spec, (list, tuple)):
            out += _metric_specs(spec, what)
            continue
        metric = spec if spec in ("accuracy", "acc", "crossentropy", "ce") else metrics.get(spec)
        if isinstance(spec, str) and not isinstance(metric, str):
            metric.name = spec
        out.append(metric)
    return out


def _is_due(epoch, freq):
    return (epoch + 1) in freq if isinstance(freq, (list, tuple, set)) else (epoch + 1) % freq == 0
