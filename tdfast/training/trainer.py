"""compile, fit, evaluate and predict: the training loop.

`Trainer.train_step` is the whole algorithm on one screen.
"""

import contextlib
import copy
import functools
import math
import signal
import threading

import numpy as np

from tdfast import losses, metrics, optimizers
from tdfast.callbacks.calls import CallbackList
from tdfast.engine.arguments import flag
from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.tape import Record, Tape
from tdfast.engine.variable import Parameters
from tdfast.errors import LossError
from tdfast.training import adapters, objective, packing
from tdfast.training import lengths as ragged
from tdfast.training.epochs import ArrayBatches, EpochIterator, StreamBatches
from tdfast.training.lock import ModelLock
from tdfast.training.resume import Run

PREDICT_BYTES = 2**24
PREDICT_ROWS = 252
"""What predict works on at once: see `Trainer._rows_per_pass`. Rows in multiples of the kernels' tile."""


KEPT = "The weights are those of the step before."
_NOTHING = contextlib.nullcontext()

_counting = set()
"""The ids of the metrics that are in the middle of an epoch or an evaluation, of any model."""


def _inference_tape():
    return Tape(keep=False)


def _begun(tape):
    """The tape for weights as they are now."""
    tape.rewind()
    tape.version, tape.bare = object(), None
    return tape


def _exclusive(method):
    """One such call on a model at a time: see `ModelLock`."""

    @functools.wraps(method)
    def called(self, *args, **kwargs):
        token = self._lock.exclusive(method.__name__)
        try:
            return method(self, *args, **kwargs)
        finally:
            self._lock.free(token)

    return called


class Trainer:
    """What a model can do beyond a layer: learn, be measured, and predict."""

    def __init__(self):
        self.optimizer = self.loss = None
        self.compiled = False
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self.history = None
        self._run = None            # the fit that is under way
        self._parameters = None
        self._tape = Tape()
        self._buffers = Record(self)
        self._lock = ModelLock(_inference_tape)
        self._reset_compiled_metrics([], [])

    # ---------------------------------------------------------------- compile
    @_exclusive
    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, weighted_metrics=None,
                run_eagerly=False, steps_per_execution=1, jit_compile="auto", auto_scale_loss=True):
        """Choose how to train.

        Args:
            optimizer: a name or object of `tdfast.optimizers`.
            loss: a name or object of `tdfast.losses`.
            loss_weights: 1 or [1]: a model has one output.
            metrics, weighted_metrics: lists of names, classes or objects of `tdfast.metrics`, or of functions
                f(y_true, y_pred) of NumPy arrays that give a value for each sample, each step, or one number.
                Only the weighted ones use sample_weight. 'accuracy' is the one that fits the loss and the
                shapes.
            run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: accepted for Keras's sake.
                They tell Keras how to run a step; tdfast has one way, which gives the same numbers.

        Raises:
            ValueError: for a name that is not known; the text lists the known ones.
        """
        at_work = self._lock.at_work()
        if at_work != "compile":
            raise RuntimeError(
                f"compile: {at_work} of model '{self.name}' is under way, whose optimizer, loss and metrics "
                "must "
                "stay. Compile after it (set model.stop_training = True to end it); "
                "model.optimizer.learning_rate "
                "can be changed at any time."
            )
        if loss_weights is not None and _only(loss_weights, "loss_weights") != 1:
            raise ValueError(
                f"loss_weights={loss_weights!r} weighs the losses of several outputs, but a Sequential model "
                "has one, of weight 1. "
                "Weigh samples with sample_weight, or write the factor into a loss of your own."
            )
        optimizer = optimizers.get(optimizer)
        loss = None if loss is None else losses.get(_only(loss, "loss"))
        if loss is not None and loss.reduction in (None, "none"):
            raise ValueError(
                f"Loss '{loss.name}' has reduction=None, but training needs one number: use "
                "'sum_over_batch_size'."
            )
        plain, weighted = (
            _metric_specs(metrics, "metrics"),
            _metric_specs(weighted_metrics, "weighted_metrics"),
        )
        plain, weighted = _each_its_own(plain, weighted)
        self._refuse_optimizer_of_another(optimizer, "compile")
        self.optimizer, self.loss = optimizer, loss
        self._reset_compiled_metrics(plain, weighted)
        self.compiled = True
        self.stop_training = False

    def _reset_compiled_metrics(self, plain, weighted):
        self._metric_specs = [(spec, False) for spec in plain] + [(spec, True) for spec in weighted]
        self._metrics = None
        self._loss_tracker = metrics.Mean(name="loss")

    def compiled_state(self):
        """What `compile` was given and what became of it, for a copy: optimizer, loss, metrics with their
        sums."""
        optimizer = copy.deepcopy(self.optimizer)       # of this moment: a thread may be training
        return {"optimizer": optimizer, "loss": self.loss, "specs": self._metric_specs,
                "metrics": self._metrics,
                "loss_tracker": self._loss_tracker}

    def set_compiled_state(self, state):
        """Compile as the model of a `compiled_state` was, with its objects."""
        self.compile(state["optimizer"], state["loss"])
        self._metric_specs, self._metrics = state["specs"], state["metrics"]
        self._loss_tracker = state["loss_tracker"]
        if self.built and self.optimizer.has_kept_state:
            self._ready_to_train()

    def compile_as(self, model):
        """Compile as another model was, with a new optimizer and copies of its loss and metrics, which start
        anew."""
        loss, specs = copy.deepcopy((model.loss, model._metric_specs))
        optimizer = model.optimizer
        self.compile(optimizer and type(optimizer).from_config(optimizer.get_config()), loss)
        self._metric_specs = specs
        for metric, _ in specs:
            if not isinstance(metric, str):
                metric.reset_state()

    @property
    def validates(self):
        """Whether the `fit` that is under way measures validation data."""
        return self._run is not None and self._run.test is not None

    @property
    def metrics(self):
        """The loss's running mean, then the metrics."""
        return ([self._loss_tracker] if self.compiled else []) + [m for m, _ in self._metrics or []]

    @property
    def metrics_names(self):
        """The names in the logs: a second metric of one name is 'weighted_' + name, or gets a number."""
        names = ["loss"] if self.compiled else []
        for metric, weighted in self._metrics or []:
            first = f"weighted_{metric.name}" if weighted and metric.name in names else metric.name
            name, n = first, 0
            while name in names:
                n += 1
                name = f"{first}_{n}"
            names.append(name)
        return names

    def reset_metrics(self):
        """Start all running means again, also those of metrics that another model or loop has used."""
        for metric in self._counters():
            metric.reset_state()

    def _counters(self):
        """The objects that count over batches; metrics given by name are among them once the shapes are
        known."""
        counting = self._metric_specs if self._metrics is None else self._metrics
        return [self._loss_tracker, *(metric for metric, _ in counting if not isinstance(metric, str))]

    def _is_counting(self):
        return id(self._loss_tracker) in _counting

    @contextlib.contextmanager
    def _counting_alone(self):
        """For the block, metrics that count for this call alone.

        A callback may evaluate in the middle of an epoch, with this model or with another one that shares a
        metric. The numbers of that epoch must not change by it, so such a call counts in copies.
        """
        held, copies = (self._metric_specs, self._metrics, self._loss_tracker), None
        if not _counting.isdisjoint(map(id, self._counters())):
            self._metric_specs, self._metrics, self._loss_tracker = copies = copy.deepcopy(held)
        ids = {id(counter) for counter in self._counters()}
        _counting.update(ids)
        try:
            yield
        finally:
            _counting.difference_update(ids)
            if copies and self._metric_specs is copies[0]:
                self._metric_specs, self._metrics, self._loss_tracker = held

    def _make_metrics(self, y, y_pred):
        """Names into objects, now that the shapes are known."""
        made = []
        for spec, weighted in self._metric_specs:
            metric = metrics.for_loss(spec, self.loss, y.shape,
                                      y_pred.shape) if isinstance(spec, str) else spec
            made.append((metric, weighted))
        self._metrics = made

    def _require_compiled(self, who):
        if not self.compiled:
            raise ValueError(f"{who}: call compile(optimizer=..., loss=...) before {who}.")
        if self.loss is None:
            raise ValueError(
                f"{who}: the model was compiled without a loss. Call compile(optimizer=..., loss=...)."
            )

    # ---------------------------------------------------------------- one step
    def train_step(self, x, y, sample_weight=None, mask=None, where=""):
        """Forward, loss, backward, update: the loss of this batch before the update."""
        tape, aim = self._tape, self._objective
        tape.rewind()
        tape.bare = aim.layer
        before = [v.value.copy() for v in self._moving]
        y_pred = self.forward(x, tape, training=True, mask=mask, packing=self._packing)
        given = mask
        y, sample_weight, mask = self._targets_for(y_pred, y, sample_weight, tape.records[0])
        value, dy = aim.loss.value_and_grad(y, y_pred, sample_weight, mask, workspace=self._buffers)
        value += self._penalty(tape)
        if self._metric_specs:
            self._update_metrics(y, aim.outputs(y_pred, self._metrics, self._buffers), sample_weight, mask)
        if not math.isfinite(value):
            self._refuse_step(value, len(x), before, lambda: self._explain(x, value, where, given))
        self.backward(dy, tape, need_dx=False)
        for v in self._regularized:
            v.grad[...] += v.regularizer.gradient(v.value)
        bad = self.optimizer.bad_gradient()
        if bad is not None:
            self._refuse_step(math.nan, len(x), before, lambda: self._explain_gradient(bad, where))
        self._lock.changed_by(self.optimizer.apply)
        self._loss_tracker.add(value * len(x), len(x))
        return value

    def test_step(self, x, y, sample_weight, mask, tape):
        """The loss of this batch, and the metrics, without learning."""
        tape.rewind()
        aim = self._objective
        tape.bare = aim.layer
        with kernel_arithmetic():
            y_pred = self.forward(x, tape, mask=mask, packing=self._packing)
            y, sample_weight, mask = self._targets_for(y_pred, y, sample_weight, tape.records[0])
            value, _ = aim.loss.value_and_grad(y, y_pred, sample_weight, mask, workspace=self._buffers,
                                               need_grad=False)
            value += self._penalty(tape)
            if self._metric_specs:
                y_pred = aim.outputs(y_pred, self._metrics, self._buffers)
                self._update_metrics(y, y_pred, sample_weight, mask)
        self._loss_tracker.add(value * len(x), len(x))
        return value

    def _targets_for(self, y_pred, y, sample_weight, record):
        """(targets, weights, mask) for what `forward` gave: see `tdfast.training.packing`."""
        if record.packed is None:
            return y, sample_weight, record.mask
        return *packing.pack_targets(y_pred, y, sample_weight, record.packed, self._buffers), None

    def _penalty(self, tape):
        """The regularizers' part of the loss."""
        total = sum(float(v.regularizer(v.value)) for v in self._regularized)
        return total + self.activity_penalty(tape) if self._active else total

    def _update_metrics(self, y, y_pred, sample_weight, mask):
        if self._metrics is None:
            self._make_metrics(y, y_pred)
        try:
            for metric, weighted in self._metrics:
                metric.update_batch(y, y_pred, sample_weight if weighted else None, mask, self._buffers)
        except Exception as error:
            _say_whose(error, metric)
            raise

    def _logs(self):
        logs = {}
        for name, metric in zip(self.metrics_names, self.metrics):
            try:
                result = metric.result()
            except Exception as error:
                _say_whose(error, metric)
                raise
            logs.update(result if isinstance(result, dict) else {name: result})
        # A float for one number; metrics with several, such as F1Score of each class, give arrays.
        return {name: float(v) if np.ndim(v) == 0 else np.array(v) for name, v in logs.items()}

    def _refuse_step(self, value, rows, before, explain):
        """Raise a `LossError`: no weight is then what it was not before the step."""
        for v, held in zip(self._moving, before):
            v.value[...] = held
        self._loss_tracker.add(value * rows, rows)
        raise LossError(explain())

    def _explain_gradient(self, variable, where):
        """Which gradient left the range of its dtype, though the loss did not."""
        layer = next(layer for layer in self.walk() if layer is not self
                     and any(v is variable for v in layer.weights))
        return (
            f"The gradient of weight '{variable.name}' of layer '{layer.name}' ({type(layer).__name__}) is "
            f"not finite{where}, though the loss is. Try smaller inputs, targets or weights. {KEPT}"
        )

    def _explain(self, x, value, where, mask):
        """Why the loss is not a number: the first layer whose weights or outputs are not finite."""
        tape, start = Tape(keep=False), f"The loss became {value}{where}"
        cure = "a smaller learning_rate" + ("" if self.optimizer.clips else " or clipnorm=1")
        if not np.isfinite(x).all():
            return f"{start}: the inputs hold NaN or infinity. {KEPT}"
        found = []

        def look(node, given):
            h, mask = given
            if found:
                return given
            layer = node.layer
            bad = [w.name for w in layer.weights if not np.isfinite(w.value).all()]
            tape.rewind()
            y = layer.forward(h, tape, training=False, mask=mask)
            name = f"layer '{layer.name}' ({type(layer).__name__})"
            if bad:
                found.append(
                    f"{start}. It began before that step: weight '{bad[0]}' of {name} was not finite. Where "
                    f"no file and no callback set it so, an update did: try {cure}."
                )
            elif not np.isfinite(y).all():
                found.append(f"{start}. It began in {name}: its output is not finite. Try {cure}. {KEPT}")
            return y.copy(), layer.compute_mask(h, mask)

        (h, _), = self.graph.walk([(x, mask)], look)
        if found:
            return found[0]
        return (
            f"{start}. Every layer's output is finite, so it began in the loss '{self.loss.name}': check "
            "that the "
            f"targets are finite and fit it. The largest output is {np.max(np.abs(h), initial=0):.3g}: where "
            f"training has made it that large, try {cure}. {KEPT}"
        )

    def _whole_step(self):
        """The context of a step that no prediction may see half done: where forward, too, changes weights
        (moving statistics), all of it, else its update alone, which `train_step` sees to."""
        return self._lock.writing() if self._moving else _NOTHING

    # ---------------------------------------------------------------- preparation
    def _ready_to_train(self):
        """Put the weights into flat vectors, and the optimizer on top of them."""
        variables, trainable = self.weights, self.trainable_weights
        optimizer = self.optimizer
        self._refuse_optimizer_of_another(optimizer, "fit")
        if self._parameters is None or not self._parameters.is_current(variables):
            self._parameters = Parameters(variables)
        if (not optimizer.built or optimizer.parameters is not self._parameters
                or [id(v) for v in optimizer.trainable_variables] != [id(v) for v in trainable]):
            optimizer.build(self._parameters, trainable)
        self._moving = [v for v in variables if not v.trainable]    # moving statistics change in forward
        self._note_parts()

    def _refuse_optimizer_of_another(self, optimizer, who):
        """An optimizer that has trained other variables would carry its step count and schedule over to this
        model."""
        if not optimizer.built or optimizer.parameters is self._parameters:
            return
        known = {id(v) for v in optimizer.parameters.variables}
        if not self.built or any(id(v) not in known for v in self.trainable_weights):
            raise ValueError(
                f"{who}: optimizer '{optimizer.name}' ({type(optimizer).__name__}) has trained another "
                "model, whose moments "
                f"and step count it keeps. Make a new one for model '{self.name}': "
                f"{type(optimizer).__name__}.from_config(optimizer.get_config())."
            )

    def _note_parts(self):
        self._regularized = [v for v in self.trainable_weights if v.regularizer is not None]
        layers = list(self.walk())[1:]
        self._active = any(layer.activity_regularizer is not None for layer in layers)
        self._objective = objective.of(self, layers, self.loss)
        metrics = [spec for spec, _ in self._metric_specs]
        self._packing = None if self._active else packing.starts_at(self.graph, self.loss, metrics)

    def _check_inputs(self, x, who, views=False):
        """Inputs as an array that fits the model; builds it if need be. ``views`` as in
        `adapters.check_inputs`."""
        x = adapters.check_inputs(x, self.as_input, who, self.input_shape, views)
        self.ensure_built((None, *x.shape[1:]), x.shape)
        return x

    def _check(self, x, y, sample_weight, who, views=False):
        """Inputs, targets and weights as arrays that fit the model."""
        x = self._check_inputs(x, who, views)
        y = adapters.check_targets(y, len(x), self.dtype, self.loss.sparse, who, views)
        outputs = self.compute_output_shape(x.shape)
        self.loss.check(y.shape, outputs)
        self.loss.look_at(y, outputs, who)
        return x, y, adapters.check_sample_weight(sample_weight, len(x), self.dtype, who)

    def _weigh_classes(self, class_weight, x, y, sample_weight, who):
        """sample_weight, or what class_weight makes of the targets."""
        if class_weight is None:
            return sample_weight
        if sample_weight is not None:
            raise ValueError(f"{who}: give sample_weight or class_weight, not both.")
        return adapters.class_weight_to_sample_weight(class_weight, y, self.dtype,
                                                      len(self.compute_output_shape(x.shape)))

    def _array_feed(self, arrays, lengths, batch_size, steps, who, shuffle=False, class_weight=None):
        """A `EpochIterator` of arrays that were checked."""
        x, y, weight = arrays
        weight = self._weigh_classes(class_weight, x, y, weight, who)
        steps = adapters.check_steps(steps, f"{who}: the number of steps")
        if batch_size is None and steps:
            batch_size = -(-len(x) // steps)
        size = adapters.check_batch_size(batch_size, who)
        padding = None if lengths is None else ragged.Padding(lengths, self._time_plan(x, who))
        # In the middle of an epoch, which a callback is in, the model's own buffers may hold the batch to
        # come.
        buffers = Record(self) if self._is_counting() else self._buffers
        return EpochIterator(ArrayBatches((x, y, weight), size, buffers, shuffle, padding), steps, who)

    def _stream_feed(self, x, steps, who, shuffle=False, class_weight=None, batch_size=None, **others):
        """A `EpochIterator` of what yields batches; ``others`` belong into the batches and must be None."""
        adapters.note_batch_size(batch_size, x, who)
        for name, value in others.items():
            if value is not None:
                raise ValueError(
                    f"{who}: x is a {type(x).__name__}, which yields batches (x, y) or (x, y, "
                    f"sample_weight), so {name} "
                    "cannot be given beside it."
                )

        def prepare(batch):
            x, y, weight = self._check(*adapters.unpack(batch, who), who)
            return x, y, self._weigh_classes(class_weight, x, y, weight, who), None

        return EpochIterator(StreamBatches(x, prepare, shuffle),
                             adapters.check_steps(steps, f"{who}: the number of steps"), who)

    def _check_lengths(self, lengths, x, who):
        return None if lengths is None else adapters.check_lengths(lengths, len(x),
                                                                   x.shape[1] if x.ndim > 1 else None, who)

    def _time_plan(self, x, who):
        return ragged.plan(self.graph, x.shape, who)

    @contextlib.contextmanager
    def _inference_tape(self):
        """A tape of this call's own, and the weights of one moment; its buffers serve a later call."""
        with self._lock.reading() as seat:
            yield _begun(seat.memory)

    # ---------------------------------------------------------------- fit
    @_exclusive
    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None,
            validation_split=0.0,
            validation_data=None, shuffle=True, class_weight=None, sample_weight=None, initial_epoch=0,
            steps_per_epoch=None, validation_steps=None, validation_batch_size=None, validation_freq=1,
            lengths=None, validation_lengths=None):
        """Train for some epochs.

        Args:
            x: inputs, samples on the first axis: a NumPy array, a list, a pandas frame, a tensor of torch,
                JAX or TensorFlow. Or what yields batches (x, y) or (x, y, sample_weight): a generator, any
                iterable such as a torch DataLoader, a `tdfast.utils.PyDataset`. Batches may differ in their
                number of rows and of time steps.
            y: targets, as many samples. None where x yields batches, and so is sample_weight.
            batch_size: samples of one update; None is 32, or what steps_per_epoch makes of all samples. Where
                x yields batches, they stay as they are, with a warning; arrays as validation_data are cut by
                it.
            epochs: the number of the last epoch; each sees every sample once.
            verbose: 0 is silent, 1 or 'auto' shows a bar (one line an epoch where the output is not a
                terminal), 2 a line an epoch.
            callbacks: a list of `tdfast.callbacks.Callback`.
            validation_split: this last fraction of the samples is kept apart and measured each epoch.
            validation_data: (x, y) or (x, y, sample_weight) to measure instead, or what yields batches.
            shuffle: a new random order in each epoch; 'batch' only within each batch. A generator's batches
                stay in its order.
            class_weight: a dict from class to its weight in the loss; targets may be labels or one-hot, one a
                sample or one a step. Not together with sample_weight.
            sample_weight: a weight for each sample, (N,), or for each step of each, (N, T).
            initial_epoch: where to go on counting.
            steps_per_epoch, validation_steps: batches of an epoch and of a validation; None: all. An endless
                generator needs them. The next epoch goes on where the last one ended, a validation does so
                with a generator only.
            validation_batch_size: None: batch_size.
            validation_freq: measure every so many epochs, or a list of epochs, the first being 1.
            lengths: for sequences padded on the right: (N,) whole numbers from 0 to T, the valid steps of
                each. The other steps are masked, from the first layer to the loss and the metrics. Batches
                are cut to their longest row where no number changes by it.
            validation_lengths: the same for the arrays of validation_data.

        Returns:
            The `History`: ``history.history["loss"]`` is a list of floats, one an epoch.

        Raises:
            ValueError: for data that does not fit, before anything changes.
            FloatingPointError: when the loss is no longer a number and no `TerminateOnNaN` is there to end
                training quietly; the weights of the last good step and the history stay.

        Warns when the data end before the epochs do; training then ends, as in Keras.

        Ctrl-C ends training after the step that runs, with its weights and the history so far kept in
        ``model.history``. So does an error in a callback, a generator or a layer. The callbacks'
        ``on_train_end`` is not called then, as in Keras. `tdfast.callbacks.BackupAndRestore` lets the next
        run go on from there.

        >>> import numpy as np, tdfast
        >>> model = tdfast.Sequential([tdfast.layers.LSTM(4), tdfast.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> x, y = np.zeros((8, 5, 2)), np.zeros((8, 1))
        >>> history = model.fit(x, y, epochs=2, verbose=0, lengths=[5, 1, 2, 3, 4, 5, 5, 0])
        >>> batches = ((x[i : i + 4], y[i : i + 4]) for i in (0, 4))
        >>> len(model.fit(batches, verbose=0).history["loss"])
        1
        """
        self._require_compiled("fit")
        epochs, initial_epoch = (
            adapters.check_count(epochs, "fit: epochs"),
            adapters.check_count(initial_epoch, "fit: initial_epoch"),
        )
        is_due = _due(validation_freq)
        shuffle = (
            shuffle if isinstance(shuffle, str) and shuffle == "batch" else flag(shuffle, "shuffle", "fit")
        )
        train, test = self._training_feeds(
            x, y, sample_weight, lengths, class_weight, batch_size, steps_per_epoch, shuffle,
            validation_split,
            validation_data, validation_lengths, validation_batch_size, validation_steps,
        )
        self._ready_to_train()
        calls = self._calls(callbacks, verbose, epochs, train.steps, add_history=True)
        self.stop_training = False
        outer, finished = self._run, False          # a callback may call fit as well
        self._run = run = Run(self, list(self.walk()), calls, train, test, initial_epoch)
        try:
            calls.on_train_begin()
            with _Interrupts() as interrupts:
                while run.epoch < epochs and not run.over:
                    calls.on_epoch_begin(run.epoch)
                    with self._counting_alone():
                        logs = self._train_epoch(run, interrupts)
                    if logs is None:
                        break               # out of data
                    if test and is_due(run.epoch + 1):
                        test.rewind()
                        logs.update({f"val_{k}": v for k, v in (self._evaluate(test, calls) or {}).items()})
                    run.epoch, run.batch, run.logs = run.epoch + 1, 0, logs
                    calls.on_epoch_end(run.epoch - 1, logs)
                    run.over = self.stop_training
            finished = True
        finally:
            self._run = outer
            if not finished:
                calls.on_abort()
            if epochs > 0:
                with self._lock.writing():
                    self.optimizer.finalize_variable_values()
            if finished:
                calls.on_train_end(run.logs)
        return self.history

    def _training_feeds(self, x, y, sample_weight, lengths, class_weight, batch_size, steps, shuffle, split,
                        validation_data, validation_lengths, validation_batch_size, validation_steps):
        """What fit trains on and what it validates on (or None), both checked and the model built."""
        held_out = None
        if adapters.is_stream(x):
            if split and validation_data is None:
                raise ValueError(
                    "fit: validation_split needs x and y as arrays; pass validation_data instead."
                )
            train = self._stream_feed(x, steps, "fit", shuffle, class_weight, y=y,
                                      sample_weight=sample_weight,
                                      batch_size=batch_size, lengths=lengths)
            if train.peek() is None:
                raise ValueError(f"fit: x is a {type(x).__name__} that yields no batch.")
        else:
            arrays = self._check(x, y, sample_weight, "fit", views=True)
            lengths = self._check_lengths(lengths, arrays[0], "fit")
            if split and validation_data is None:
                (*arrays, lengths), held_out = adapters.split_validation([*arrays, lengths], split)
            train = self._array_feed(arrays, lengths, batch_size, steps, "fit", shuffle, class_weight)
        size = validation_batch_size or batch_size
        if validation_data is not None:
            return train, self._validation_feed(validation_data, validation_lengths, lengths, size,
                                                validation_steps)
        if validation_lengths is not None:
            raise ValueError("fit: validation_lengths belongs to validation_data, which was not given.")
        return train, held_out and self._array_feed(held_out[:3], held_out[3], size, validation_steps,
                                                    "fit's validation")

    def _validation_feed(self, given, lengths, train_lengths, batch_size, steps):
        who = "fit's validation_data"
        if adapters.is_stream(given):
            return self._stream_feed(given, steps, who, validation_lengths=lengths)
        if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
            raise ValueError(
                "validation_data must be (x, y) or (x, y, sample_weight), or something that yields such "
                "batches, got "
                f"{type(given).__name__}"
                + (f" of {len(given)} entries." if isinstance(given, (tuple, list)) else ".")
            )
        x, y, weight = adapters.unpack(given, who)
        if adapters.is_stream(x):
            return self._stream_feed(x, steps, who, y=y, sample_weight=weight, validation_lengths=lengths)
        arrays = self._check(x, y, weight, who, views=True)
        if lengths is None and train_lengths is not None:
            raise ValueError(
                "fit: with lengths, give validation_lengths for the arrays of validation_data as well."
            )
        lengths = self._check_lengths(lengths, arrays[0], who)
        return self._array_feed(arrays, lengths, batch_size, steps, who)

    def _calls(self, callbacks, verbose, epochs, steps, **options):
        """All callbacks as one, the progress bar among them."""
        return CallbackList(callbacks, add_progbar=True, model=self, verbose=verbose, epochs=epochs,
                            steps=steps, **options)

    def _train_epoch(self, run, interrupts):
        """The logs of one epoch, or of the rest of it, or None if there was no batch."""
        calls, where = run.calls, f" in epoch {run.epoch + 1}, batch "
        if run.batch == 0:
            self.reset_metrics()
        elif self.stop_training:
            return self._logs()
        i = run.batch - 1
        for i, (x, y, weight, mask) in enumerate(run.train, run.batch):
            if calls.has_batch_hooks:
                calls.on_train_batch_begin(i)
            try:
                with interrupts.held(), kernel_arithmetic(), self._whole_step():
                    self.train_step(x, y, weight, mask, f"{where}{i + 1}")
            except LossError:
                if not calls.handles_nan:
                    raise
            run.batch = i + 1
            if calls.has_batch_hooks:
                calls.on_train_batch_end(i, self._logs)
                if self.stop_training:
                    break
        return None if i < 0 else self._logs()

    def _evaluate(self, batches, calls):
        """The logs over some batches, or None if there was no batch."""
        self.stop_evaluating = False
        calls.on_test_begin()
        i = -1
        with self._counting_alone(), self._inference_tape() as tape:
            self.reset_metrics()
            for i, (x, y, weight, mask) in enumerate(batches):
                if calls.has_test_batch_hooks:
                    calls.on_test_batch_begin(i)
                self.test_step(x, y, weight, mask, tape)
                if calls.has_test_batch_hooks:
                    calls.on_test_batch_end(i, self._logs)
                    if self.stop_evaluating:
                        break
            logs = None if i < 0 else self._logs()
        calls.on_test_end(logs)
        return logs

    @_exclusive
    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, steps=None,
                 callbacks=None, return_dict=False, lengths=None):
        """The loss and the metrics on some data.

        Args:
            x, y, batch_size, verbose, sample_weight, callbacks, lengths: as in `fit`.
            steps: at most so many batches; None: all.

        Returns:
            The loss, or a list with the metrics behind it; a dict by name with return_dict.
        """
        self._require_compiled("evaluate")
        return_dict = flag(return_dict, "return_dict", "evaluate")
        if adapters.is_stream(x):
            feed = self._stream_feed(x, steps, "evaluate", y=y, sample_weight=sample_weight,
                                     batch_size=batch_size,
                                     lengths=lengths)
            if feed.peek() is None:
                raise ValueError(f"evaluate: x is a {type(x).__name__} that yields no batch.")
        else:
            arrays = self._check(x, y, sample_weight, "evaluate", views=True)
            feed = self._array_feed(arrays, self._check_lengths(lengths, arrays[0], "evaluate"), batch_size,
                                    steps,
                                    "evaluate")
        self._note_parts()
        calls = self._calls(callbacks, verbose, 1, feed.steps)
        with _aborting(calls):
            logs = self._evaluate(feed, calls)
        return logs if return_dict else self._in_order(logs)

    # ---------------------------------------------------------------- predict
    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None, lengths=None):
        """The outputs for some inputs.

        Args:
            x: inputs as in `fit`. Of what yields batches, those may be ``x``, ``(x,)`` or ``(x, y)``.
            batch_size: samples of one batch, for callbacks, the bar and ``steps``; None is 32. No result
                depends on it, and tdfast joins or cuts batches as suits the cache.
            verbose, callbacks: as in `fit`.
            steps: at most so many batches; None: all.
            lengths: as in `fit`. Outputs of all T steps come back in the caller's order; those after a
                sequence's length are what a mask makes of them: a recurrent layer's last output goes on
                (zeros with zero_output_for_mask), and the layers after it are applied to that.

        Returns:
            An array with one row for each sample; a list of arrays where the last layer has return_state.
        """
        if adapters.is_stream(x):
            return self._predict_stream(x, batch_size, verbose, steps, callbacks, lengths)
        x = self._check_inputs(x, "predict", views=True)
        lengths = self._check_lengths(lengths, x, "predict")
        feed = self._array_feed((x, None, None), lengths, batch_size, steps, "predict")
        calls = self._calls(callbacks, verbose, 1, feed.steps)
        batches, padding = feed.source, feed.source.padding
        batches.buffers = Record(self)          # not those of a fit beside it
        whole_batches = calls.has_predict_batch_hooks or self._is_stateful()
        if padding is not None and whole_batches:
            # What callbacks see, and what a state is of, are the caller's batches.
            padding.plan.cut = False
        wanted = len(x) if feed.wanted is None else min(feed.wanted * batches.batch_size, len(x))
        with _aborting(calls):
            calls.on_predict_begin()
            if whole_batches:
                out = self._predict(feed, calls, at_once=callbacks is None)
            elif padding is not None:
                out = self._predict_padded(x[:wanted], padding, batches.batch_size)
            else:
                if feed.wanted and feed.wanted > batches.batches:
                    feed.warn(batches.batches)
                rows = self._rows_per_pass(x, batches.batch_size)
                source = ArrayBatches((x[:wanted], None, None), rows, batches.buffers)
                out = self._predict(source.one_pass(), calls, wanted, at_once=True)
            calls.on_predict_end()
        return out if len(out) > 1 else out[0]

    def _predict_stream(self, x, batch_size, verbose, steps, callbacks, lengths):
        adapters.note_batch_size(batch_size, x, "predict")
        if lengths is not None:
            raise ValueError(
                f"predict: x is a {type(x).__name__}, which yields batches, so lengths cannot be given."
            )

        def prepare(batch):
            return self._check_inputs(adapters.unpack(batch, "predict")[0], "predict"), None, None, None

        feed = EpochIterator(StreamBatches(x, prepare), adapters.check_steps(steps, "predict: steps"),
                             "predict")
        if feed.peek() is None:
            raise ValueError(f"predict: x is a {type(x).__name__} that yields no batch.")
        calls = self._calls(callbacks, verbose, 1, feed.steps)
        with _aborting(calls):
            calls.on_predict_begin()
            out = self._predict(feed, calls)
            calls.on_predict_end()
        return out if len(out) > 1 else out[0]

    def _predict(self, batches, calls, samples=None, at_once=False):
        """The outputs of all batches, as a list of arrays (more than one with return_state).

        Args:
            samples: how many rows there are in all; None: not known.
            at_once: no code of the user's runs between the batches, so that all of them can have the weights
                of one moment; else each batch has those of its own.
        """
        pieces, out, start, loan = [], None, 0, None
        self.stop_predicting = False
        with self._lock.reading() if at_once else self._lock.seat() as seat:
            tape = _begun(seat.memory)
            try:
                for i, (x, _, _, mask) in enumerate(batches):
                    calls.on_predict_batch_begin(i)
                    tape.rewind()
                    if loan is not None:                # the last layer writes where the result belongs
                        loan.lend(out[0][start : start + len(x)])
                    with kernel_arithmetic(), _NOTHING if at_once else self._lock.read(seat):
                        if not at_once:
                            _begun(tape)
                        y = self.forward(x, tape, mask=mask)
                    parts = y if isinstance(y, list) else [y]
                    if samples is None:
                        pieces.append([part.copy() for part in parts])
                    else:
                        if out is None:
                            out = [np.empty((samples, *part.shape[1:]), part.dtype) for part in parts]
                            loan = tape.lender_of(y) if len(parts) == 1 else None
                        for rows, part in zip(out, parts):
                            place = rows[start : start + len(part)]
                            if not np.may_share_memory(place, part):
                                place[...] = part
                        start += len(x)
                    calls.on_predict_batch_end(i, {"outputs": y})
                    if self.stop_predicting:
                        break
            finally:
                if loan is not None:
                    loan.end()
        return out if samples is not None else [_joined(parts) for parts in zip(*pieces)]

    def _predict_padded(self, x, padding, batch_size):
        """The outputs for sequences padded on the right: the longest first, each batch cut to its longest."""
        plan, T, out = padding.plan, x.shape[1], None
        plan.cut = plan.cut and (plan.held or not plan.follows)
        order, rows = padding.by_length(len(x)), self._rows_per_pass(x, batch_size)
        buffers = Record(self)
        with self._inference_tape() as tape:
            for start in range(0, len(x), rows):
                index = order[start : start + rows]
                # One masked step more than the longest row, whose output is that of all steps cut off.
                part_x, _, _, mask = padding.gather((x, None, None), index, buffers, spare=int(plan.follows))
                tape.rewind()
                with kernel_arithmetic():
                    y = self.forward(part_x, tape, mask=mask)
                parts = y if isinstance(y, list) else [y]
                if out is None:
                    timed = [plan.follows and k == 0 for k in range(len(parts))]
                    out = [np.empty((len(x), *((T, *p.shape[2:]) if t else p.shape[1:])), p.dtype)
                           for p, t in zip(parts, timed)]
                for whole, part, t in zip(out, parts, timed):
                    if t and part.shape[1] < T:
                        steps = part.shape[1]
                        whole[index, :steps] = part
                        whole[index, steps:] = part[:, -1:]
                    else:
                        whole[index] = part
        return out

    def _is_stateful(self):
        return any(getattr(layer, "stateful", False) for layer in self.walk())

    def _rows_per_pass(self, x, batch_size):
        """How many rows predict takes at once: no result depends on it, so it is chosen for the cache.

        Small batches are joined and large ones cut, such that all layers' outputs take some 16 MB.
        """
        values = [math.prod(x.shape[1:])]

        def add(node, shape):
            shape = node.layer.compute_output_shape(shape)
            values.append(math.prod((shape[0] if isinstance(shape, list) else shape)[1:]))
            return shape

        self.graph.walk([x.shape], add)
        fitting = PREDICT_BYTES // (sum(values) * x.itemsize)
        return max(min(batch_size, 12), min(PREDICT_ROWS, fitting // 12 * 12))

    # ---------------------------------------------------------------- single batches
    @_exclusive
    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """One update on one batch: its loss, or a list with the metrics behind it."""
        self._require_compiled("train_on_batch")
        return_dict = flag(return_dict, "return_dict", "train_on_batch")
        x, y, weight = self._check(x, y, sample_weight, "train_on_batch")
        weight = self._weigh_classes(class_weight, x, y, weight, "train_on_batch")
        self._ready_to_train()
        with self._counting_alone():
            self.reset_metrics()
            with _Interrupts() as interrupts, interrupts.held(), kernel_arithmetic(), self._whole_step():
                self.train_step(x, y, weight)
            logs = self._logs()
        return logs if return_dict else self._in_order(logs)

    @_exclusive
    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """The loss and the metrics of one batch."""
        self._require_compiled("test_on_batch")
        return_dict = flag(return_dict, "return_dict", "test_on_batch")
        x, y, weight = self._check(x, y, sample_weight, "test_on_batch")
        self._note_parts()
        with self._counting_alone(), self._inference_tape() as tape:
            self.reset_metrics()
            self.test_step(x, y, weight, None, tape)
            logs = self._logs()
        return logs if return_dict else self._in_order(logs)

    def predict_on_batch(self, x):
        """The outputs for one batch."""
        return self.predict(x, batch_size=max(len(x), 1), verbose=0)

    def reset_states(self):
        """Let all stateful layers start from zeros again."""
        for layer in self.walk():
            if layer is not self and hasattr(layer, "reset_state"):
                layer.reset_state()

    def _in_order(self, logs):
        values = list(logs.values())
        return values[0] if len(values) == 1 else values


class _Interrupts:
    """Ctrl-C during a step takes effect right after it, so that an update is whole or not begun."""

    def __enter__(self):
        self.holding, self.pending, self.old = True, False, None
        if threading.current_thread() is threading.main_thread():
            old = signal.getsignal(signal.SIGINT)
            if old is signal.default_int_handler:
                self.old = old
                signal.signal(signal.SIGINT, self._handle)
        self.holding = False
        return self

    def __exit__(self, *error):
        self.holding = True             # until the handler is back
        if self.old is not None:
            signal.signal(signal.SIGINT, self.old)
        if self.pending:
            raise KeyboardInterrupt

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
            self.pending = False
            raise KeyboardInterrupt


def _say_whose(error, metric):
    """Raise an error once more, as one that says which metric it is of; leave it where it does so itself."""
    if metric.name in str(error):
        return
    text = f"Metric '{metric.name}' ({type(metric).__name__}): {error}"
    try:
        told = type(error)(text)
    except Exception:                   # a class of errors that takes more than a text
        told = RuntimeError(text)
    raise told from error


@contextlib.contextmanager
def _aborting(calls):
    """Tell the callbacks when the block ends by an error."""
    try:
        yield
    except BaseException:
        calls.on_abort()
        raise


def _joined(parts):
    """Batches' outputs as one array."""
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise ValueError(
            f"predict: the batches' outputs have different shapes, {sorted(shapes)}, and cannot be joined. "
            "Predict "
            "them one by one with predict_on_batch."
        )
    return np.concatenate(parts)


def _only(given, what):
    """The only entry of a list, or of a dict by output, that Keras would accept for one output."""
    values = None
    if isinstance(given, (list, tuple)):
        values = list(given)
    elif isinstance(given, dict) and "class_name" not in given:
        values = list(given.values())
    if values is None:
        return given
    if len(values) != 1:
        raise ValueError(f"A Sequential model has one output, but {what} has {len(values)} entries.")
    return values[0]


def _metric_specs(given, what):
    """Names that `metrics.for_loss` decides on stay names; everything else becomes an object now."""
    if given is None:
        return []
    if isinstance(given, dict) and "class_name" not in given:
        given = _only(given, what)
        given = given if isinstance(given, (list, tuple)) else [given]
    if not isinstance(given, (list, tuple)):
        raise ValueError(f"{what} must be a list, such as ['accuracy'], got {given!r}.")
    out = []
    for spec in given:
        if isinstance(spec, (list, tuple)):
            out += _metric_specs(spec, what)
            continue
        if spec is None:
            raise ValueError(f"{what} holds None: give names, metrics or functions, such as ['accuracy'].")
        metric = spec if metrics.follows_the_loss(spec) else metrics.get(spec)
        if isinstance(spec, str) and not isinstance(metric, str):
            metric.name = spec
        out.append(metric)
    return out


def _each_its_own(*lists):
    """Lists of metrics in which an object that comes again is a copy, since each counts for itself."""
    seen, out = set(), []
    for specs in lists:
        out.append([])
        for spec in specs:
            again = id(spec) in seen and not isinstance(spec, str)
            out[-1].append(copy.deepcopy(spec) if again else spec)
            seen.add(id(spec))
    return out


def _due(freq):
    """The function that tells whether to validate after an epoch, counted from 1."""
    if isinstance(freq, (list, tuple, set)):
        return lambda epoch: epoch in freq
    if isinstance(freq, bool) or not hasattr(freq, "__index__") or int(freq) < 1:
        raise ValueError(
            f"validation_freq must be a whole number of at least 1 or a list of epochs, got {freq!r}."
        )
    return lambda epoch: epoch % int(freq) == 0
