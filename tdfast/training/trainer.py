"""Trainer: compile, fit, evaluate and predict. `tdfast.training.step` has the algorithm of one batch."""

from __future__ import annotations

import contextlib
import copy
import functools
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from tdfast import config, distribution, optimizers, random
from tdfast.callbacks.callback_list import CallbackList
from tdfast.distribution import current
from tdfast.engine import program
from tdfast.engine.arguments import flag
from tdfast.engine.arithmetic import kernel_arithmetic
from tdfast.engine.structure import flatten, mapped, packed_as
from tdfast.engine.variable import Parameters, Variable
from tdfast.errors import LossError
from tdfast.training import adapters, own_step
from tdfast.training.batch import Batch, one_or_list
from tdfast.training.data import DataAdapter
from tdfast.training.epochs import ArrayBatches
from tdfast.training.interrupts import Interrupts
from tdfast.training.objective import Objective, objective_of
from tdfast.training.prediction import Prediction, tape_of
from tdfast.training.resume import Run
from tdfast.training.served import Served
from tdfast.training.step import Step
from tdfast.training.strides import Strides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tdfast.callbacks.base import Callback
    from tdfast.callbacks.history import History
    from tdfast.engine.types import Arrays, CallbacksSpec, Data, OptimizerSpec, Verbose
    from tdfast.training.epochs import EpochIterator
    from tdfast.training.lock import ModelLock
    from tdfast.training.peers import Peers
    from tdfast.training.profile import Profile

P = ParamSpec("P")
R = TypeVar("R")

_NOTHING = contextlib.nullcontext()


def _exclusive(method: Callable[Concatenate[Trainer, P], R]) -> Callable[Concatenate[Trainer, P], R]:
    """One such call on a model at a time: see `tdfast.training.lock.ModelLock`."""

    @functools.wraps(method)
    def called(self: Trainer, *args: P.args, **kwargs: P.kwargs) -> R:
        token = self.lock.exclusive(method.__name__)
        try:
            return method(self, *args, **kwargs)
        finally:
            self.lock.free(token)

    return called


class Trainer:
    """What a model can do beyond a layer: learn, be measured, and predict. A model has one, and passes the
    public methods on.

    Args:
        model: the model.
        lock: its `tdfast.training.lock.ModelLock`.

    Attributes:
        run: the `tdfast.training.resume.Run` of the fit that is under way, or None.
    """

    def __init__(self, model: Any, lock: ModelLock) -> None:
        self.model, self.lock = model, lock
        self.optimizer: Any = None
        self.objective = Objective()
        self._given: tuple[Any, Any, Any, Any] | None = None
        self.compiled = self.run_eagerly = False
        self.steps_per_execution = 1
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self.history: Any = None
        self.run: Any = None
        self._parameters: Any = None
        self._ready: Any = None
        self._step = Step(model, lock)
        self._data = DataAdapter(model, self._step.buffers, self.objective)
        self._strides = Strides(self._step)
        self.served = Served(model, lock)

    # ---------------------------------------------------------------- compile
    @_exclusive
    def compile(self, optimizer: OptimizerSpec = "rmsprop", loss: Any = None, loss_weights: Any = None,
                metrics: Any = None, weighted_metrics: Any = None, run_eagerly: bool = False,
                steps_per_execution: int | str = 1, jit_compile: bool | str = "auto",
                auto_scale_loss: bool = True) -> None:
        """Choose how to train.

        Args:
            optimizer: a name or object of `tdfast.optimizers`.
            loss: a name or object of `tdfast.losses`.
            loss_weights: what the loss is multiplied by.
            metrics, weighted_metrics: lists of names, classes or objects of `tdfast.metrics`, or of functions
                f(y_true, y_pred) of NumPy arrays that give a value for each sample, each step, or one number.
                Only the weighted ones use sample_weight. 'accuracy' is the one that fits the loss and the
                shapes.
            steps_per_execution: callbacks are told of so many batches at once: the first and the last number
                of each group, as in Keras. "auto" is 1. No number changes by it.
            run_eagerly: True has a subclassed model run its `call` in Python in each step.
            jit_compile, auto_scale_loss: accepted, without effect. They tell Keras how to run a step.

        Raises:
            ValueError: for a name that is not known; the text lists the known ones.
        """
        at_work = self.lock.at_work()
        if at_work != "compile":
            raise RuntimeError(
                f"compile: {at_work} of model '{self.model.name}' is under way, whose optimizer, loss and "
                "metrics must stay. Compile after it (set model.stop_training = True to end it); "
                "model.optimizer.learning_rate can be changed at any time."
            )
        self.run_eagerly = flag(run_eagerly, "run_eagerly", "compile")
        optimizer = optimizers.get(optimizer)
        given = loss, loss_weights, metrics, weighted_metrics
        objective = self._objective_of(given)
        self._refuse_optimizer_of_another(optimizer, "compile")
        at_once = 1 if steps_per_execution == "auto" else adapters.check_count(
            steps_per_execution, "compile: steps_per_execution")
        self._take(optimizer, objective, max(1, at_once))

    def _objective_of(self, given: tuple[Any, Any, Any, Any]) -> Objective:
        """The objective of what `compile` was given: a first one where the outputs are not known yet."""
        known = self.model.outputs_are_known
        self._given = None if known else given
        if not known and any(isinstance(part, dict) and "class_name" not in part for part in given):
            return Objective()                  # by the names of outputs, which nobody knows yet
        if not known and isinstance(given[0], (list, tuple)) and len(given[0]) > 1:
            return Objective()
        return objective_of(self.model.head_names, *given, named=self.model.has_named_outputs)

    def know_outputs(self) -> None:
        """Make the losses and metrics of `compile` for the outputs of a model that is built now."""
        given, self._given = self._given, None
        if given is not None and len(self.model.head_names) != len(self.objective.heads):
            self.objective = self._data.objective = self._objective_of(given)

    def _take(self, optimizer: Any, objective: Objective, steps_per_execution: int = 1) -> None:
        self.optimizer, self.objective = optimizer, objective
        if own_step.overrides(self.model) and not isinstance(self._data, own_step.OwnData):
            self._data = own_step.OwnData(self.model, self._step.buffers, objective)
            self._step = own_step.OwnStep(self.model, self.lock, self._data)
            self._strides = Strides(self._step)
        self.steps_per_execution = steps_per_execution
        self._data.objective = objective
        self.compiled = True
        self.stop_training = False

    def compiled_state(self) -> dict[str, Any]:
        """What `compile` was given and what became of it, for a copy: the optimizer, and the losses and
        metrics with their sums."""
        optimizer = copy.deepcopy(self.optimizer)       # of this moment: a thread may be training
        place = {id(w): i for i, w in enumerate(self.model.weights)}
        trained = [place.get(id(v), v.shape) for v in getattr(self.optimizer, "trainable_variables", ())]
        return {"optimizer": optimizer, "objective": self.objective, "trained": trained,
                "steps_per_execution": self.steps_per_execution}

    def set_compiled_state(self, state: Any) -> None:
        """Compile as the model of a `compiled_state` was, with its objects."""
        self._take(state["optimizer"], state["objective"], state["steps_per_execution"])
        if self.model.built and self.optimizer.has_kept_state:
            # Since the last step layers may have been frozen, added or taken away: the state is first put
            # where it was, with variables in the place of those that are gone.
            weights, places = self.model.weights, state.get("trained", ())
            gone = {i: Variable(np.zeros(shape, self.model.dtype)) for i, shape in enumerate(places)
                    if isinstance(shape, tuple)}
            trained = [gone[i] if i in gone else weights[place] for i, place in enumerate(places)]
            if trained and [id(v) for v in trained] != [id(v) for v in self.model.trainable_weights]:
                self._parameters = Parameters([*weights, *gone.values()])
                self.optimizer.prepare(self._parameters, trained)
            self.ready_to_train()

    def compile_as(self, trainer: Any) -> None:
        """Compile as another model was, with a new optimizer and copies of its losses and metrics, which
        start anew."""
        optimizer = trainer.optimizer
        self._take(type(optimizer).from_config(optimizer.get_config()), trainer.objective.anew(),
                   trainer.steps_per_execution)

    @property
    def loss(self) -> Any:
        """The loss that the model was compiled with; a list where it has several outputs."""
        return self.objective.loss if self.compiled else None

    @property
    def validates(self) -> bool:
        """Whether the `fit` that is under way measures validation data."""
        return self.run is not None and self.run.test is not None

    @property
    def metrics(self) -> list[Any]:
        """The loss's running mean, then the metrics, then the means of several outputs' losses."""
        return [metric for _, metric in self.objective.entries()] if self.compiled else []

    @property
    def metrics_names(self) -> list[str]:
        """The names in the logs."""
        return [name for name, _ in self.objective.entries()] if self.compiled else []

    @property
    def metrics_variables(self) -> list[Any]:
        """The variables of the metrics."""
        return [v for metric in self.metrics for v in metric.variables]

    def reset_metrics(self) -> None:
        """Start all running means again, also those of metrics that another model or loop has used."""
        self.objective.reset()

    @property
    def trains(self) -> bool:
        """Whether `compile` has given what a training step needs, or the model's own code does."""
        return self.compiled and (self.loss is not None or own_step.overrides(self.model)
                                  or any(layer.computes_in_call for layer in self.model.walk()))

    def _require_compiled(self, who: str) -> None:
        if not self.compiled:
            raise ValueError(f"{who}: call compile(optimizer=..., loss=...) before {who}.")
        if not self.trains:
            raise ValueError(
                f"{who}: the model was compiled without a loss. Call compile(optimizer=..., loss=...)."
            )

    # ---------------------------------------------------------------- preparation
    @property
    def parameters(self) -> Any:
        """The flat vectors that the weights live in, once they are ready to be trained."""
        return self._parameters

    def forget_steps(self) -> None:
        """Have the next fit look at the losses and metrics anew, and prepare its steps anew."""
        self._ready = self._step._prepared_for = None

    def interrupt(self) -> None:
        """End the fit that runs in another thread after its step, as Ctrl-C does here."""
        interrupts = self.run and self.run.interrupts
        if interrupts is not None:
            interrupts.pending = True

    def ready_to_train(self) -> None:
        """Put the weights into flat vectors, and the optimizer on top of them."""
        now = self._state_of_steps()
        if self._ready == now and self.optimizer.built and self.optimizer.parameters is self._parameters:
            return
        self._get_ready()
        self._ready = self._state_of_steps()

    def _state_of_steps(self) -> tuple[Any, ...]:
        """What steps are prepared for: of anything else they are prepared anew."""
        return self.objective, self.optimizer, self._parameters, program.changes(), self._step.peers

    def _get_ready(self) -> None:
        variables, trainable = self.model.weights, self.model.trainable_weights
        optimizer = self.optimizer
        if not variables and own_step.overrides(self.model):
            self._step.prepare(self.objective, optimizer)
            return                      # its steps make the weights
        self._refuse_optimizer_of_another(optimizer, "fit")
        if self._parameters is None or not self._parameters.is_current(variables):
            self._parameters = Parameters(variables)
        if (not optimizer.built or optimizer.parameters is not self._parameters
                or [id(v) for v in optimizer.trainable_variables] != [id(v) for v in trainable]):
            optimizer.prepare(self._parameters, trainable)
        self._step.prepare(self.objective, optimizer)

    def _refuse_optimizer_of_another(self, optimizer: Any, who: str) -> None:
        """An optimizer that has trained other variables would carry its step count and schedule over to this
        model."""
        if not optimizer.built or optimizer.parameters is self._parameters:
            return
        known = {id(v) for v in optimizer.parameters.variables}
        if not self.model.built or any(id(v) not in known for v in self.model.trainable_weights):
            raise ValueError(
                f"{who}: optimizer '{optimizer.name}' ({type(optimizer).__name__}) has trained another "
                f"model, whose moments and step count it keeps. Make one for model '{self.model.name}': "
                f"{type(optimizer).__name__}.from_config(optimizer.get_config())."
            )

    def _whole_step(self) -> Any:
        """The context of a step that no prediction may see half done: where forward, too, changes weights
        (moving statistics), all of it, else its update alone, which `Step.train` sees to."""
        return self.lock.writing() if self._step.moving else _NOTHING

    def _calls(self, callbacks: Any, verbose: Verbose, epochs: int, steps: int | None,
               **options: Any) -> Callback:
        """All callbacks as one, the progress bar among them, unless ``verbose`` is 0."""
        bar = verbose != 0 and current.is_writer()
        return CallbackList(callbacks, add_progbar=bar, model=self.model, verbose=verbose,
                            epochs=epochs, steps=steps, **options)

    # ---------------------------------------------------------------- fit
    @_exclusive
    def fit(
        self,
        x: Data = None,
        y: Data = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Verbose = "auto",
        callbacks: CallbacksSpec = None,
        validation_split: float = 0.0,
        validation_data: Data = None,
        shuffle: bool | str = True,
        class_weight: Mapping[Any, float] | None = None,
        sample_weight: Data = None,
        initial_epoch: float = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
        lengths: Any = None,
        validation_lengths: Any = None,
        seed: int | None = None,
    ) -> History:
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
            initial_epoch: the number of the epoch to begin with, to continue an earlier fit.
            steps_per_epoch, validation_steps: batches of an epoch and of a validation; None: all. An endless
                generator needs them. The next epoch begins where the last one ended, a validation does so
                with a generator only.
            validation_batch_size: None: batch_size.
            validation_freq: measure every so many epochs, or a list of epochs, the first being 1.
            lengths: for sequences padded on the right: (N,) whole numbers from 0 to T, the valid steps of
                each. The other steps are masked, from the first layer to the loss and the metrics. Batches
                are cut to their longest row where no number changes by it.
            validation_lengths: the same for the arrays of validation_data.
            seed: a whole number of at least 0, which decides all that this fit draws: the order of the
                samples, dropout and noise (a layer with a seed of its own begins with that). So it comes
                again, also if other fits run in threads. None: the process's generator is used.
                The weights were drawn when the layers were made, see `tdfast.random.scope`.

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
        run continue from there.

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
        validation = {"data": validation_data, "lengths": validation_lengths,
                      "batch_size": validation_batch_size, "steps": validation_steps}
        peers = self._join()
        with _NOTHING if seed is None else random.scope(seed):
            train, test = self._data.for_training(x, y, sample_weight, lengths, class_weight, batch_size,
                                                  steps_per_epoch, shuffle, validation_split, validation)
            if peers is not None:
                train, test = peers.share(train), test and peers.share(test)
            self.ready_to_train()
            calls = self._calls(callbacks, verbose, epochs, train.steps, add_history=True)
            run = Run(self.model, list(self.model.walk()), calls, train, test, initial_epoch,
                      None if peers is None else peers.shards)
            if seed is not None:
                run.seed()
            if peers is not None:
                peers.begin(run, epochs)
            self._fit(run, epochs, is_due)
        return self.history

    def _join(self) -> Peers | None:
        """Those that train this model together with this process from now on; None: nobody."""
        peers = None
        if distribution.distribution() is not None:
            from tdfast.training.joined import peers_of  # imported by those who train together alone

            peers = peers_of(self.model, self._step.peers)
        self._step.peers = peers
        return peers

    def _fit(self, run: Run, epochs: int, is_due: Callable[[int], bool]) -> None:
        """All epochs of a run, and what callbacks are told of them."""
        calls, test, peers = run.calls, run.test, self._step.peers
        self.stop_training = False
        outer, finished = self.run, False           # a callback may call fit as well
        self.run = run
        try:
            calls.on_train_begin()
            with Interrupts() as interrupts:
                run.interrupts = interrupts
                while run.epoch < epochs and not run.over:
                    calls.on_epoch_begin(run.epoch)
                    with self.objective.counting_alone():
                        logs = self._train_epoch(run, interrupts)
                    if logs is None:
                        break               # out of data
                    if test and is_due(run.epoch + 1):
                        test.rewind()
                        logs.update({f"val_{k}": v for k, v in (self._evaluate(test, calls) or {}).items()})
                    run.epoch, run.batch, run.logs = run.epoch + 1, 0, logs
                    calls.on_epoch_end(run.epoch - 1, logs)
                    if peers is not None:
                        self.stop_training = peers.end_epoch(self.stop_training)
                    run.over = self.stop_training
            finished = True
        finally:
            self.run = outer
            if peers is not None:
                peers.interrupts = None
            if not finished:
                calls.on_abort()
            if epochs > 0:
                with self.lock.writing():
                    self.optimizer.finalize_variable_values()
            if finished:
                calls.on_train_end(run.logs)

    def _train_epoch(self, run: Run, interrupts: Interrupts) -> dict[str, Any] | None:
        """The logs of one epoch, or of the rest of it, or None if there was no batch."""
        calls, step, where = run.calls, self._step, f" in epoch {run.epoch + 1}, batch "
        if run.batch == 0:
            step.reset()
        elif self.stop_training:
            return step.logs()
        group = _Group(self.steps_per_execution, calls.on_train_batch_begin, calls.on_train_batch_end)
        peers = step.peers
        held = interrupts.held if peers is None else contextlib.nullcontext     # they end by agreement
        alone = not calls.has_batch_hooks and isinstance(run.train.source, ArrayBatches)
        batches = run.train.between(lambda: self._stride(run, interrupts) if alone and not peers else None)
        with kernel_arithmetic() if alone else _NOTHING:            # no code of the user's runs in between
            for batch in batches if peers is None else peers.agreed(batches, "fit", interrupts):
                i = run.batch
                if calls.has_batch_hooks:
                    group.begin(i)
                try:
                    with held(), _NOTHING if alone else kernel_arithmetic(), self._whole_step():
                        step.train(batch, f"{where}{i + 1}")
                except LossError:
                    if not calls.handles_nan:
                        raise
                run.batch = i + 1
                if calls.has_batch_hooks and group.end(i, step.logs) and self.stop_training:
                    if peers is None:
                        break
                    peers.wants_stop = True
        group.finish(step.logs)
        return step.logs() if run.batch else None

    def _stride(self, run: Run, interrupts: Interrupts) -> None:
        """The steps that can be made next without Python."""
        more = 1
        while more:
            with interrupts.held():
                more = self._strides.go(run.train)
                run.batch += more

    # ---------------------------------------------------------------- evaluate
    def _evaluate(self, batches: EpochIterator, calls: Any) -> Any:
        """The logs over some batches, or None if there was no batch."""
        self.stop_evaluating = False
        calls.on_test_begin()
        i, step = -1, self._step
        with self.objective.counting_alone(), tape_of(self.lock) as tape:
            step.reset()
            group = _Group(self.steps_per_execution, calls.on_test_batch_begin, calls.on_test_batch_end)
            peers = step.peers
            for i, batch in enumerate(batches if peers is None else peers.agreed(iter(batches), "evaluate")):
                if calls.has_test_batch_hooks:
                    group.begin(i)
                step.test(batch, tape)
                if calls.has_test_batch_hooks and group.end(i, step.logs) and self.stop_evaluating:
                    if peers is None:
                        break
                    peers.wants_stop = True
            group.finish(step.logs)
            logs = None if i < 0 else step.logs()
        calls.on_test_end(logs)
        return logs

    @_exclusive
    def evaluate(self, x: Data = None, y: Data = None, batch_size: int | None = None,
                 verbose: Verbose = "auto", sample_weight: Data = None, steps: int | None = None,
                 callbacks: CallbacksSpec = None, return_dict: bool = False,
                 lengths: Any = None) -> Any:
        """The loss and the metrics on some data.

        Args:
            x, y, batch_size, verbose, sample_weight, callbacks, lengths: as in `fit`.
            steps: at most so many batches; None: all.

        Returns:
            The loss, or a list with the metrics behind it; a dict by name with return_dict.
        """
        self._require_compiled("evaluate")
        return_dict = flag(return_dict, "return_dict", "evaluate")
        peers = self._join()
        feed = self._data.for_evaluation(x, y, sample_weight, lengths, batch_size, steps, "evaluate")
        if peers is not None:
            feed = peers.share(feed)
        self._step.prepare(self.objective, self.optimizer)
        calls = self._calls(callbacks, verbose, 1, feed.steps)
        with _aborting(calls):
            logs = self._evaluate(feed, calls)
        return logs if return_dict else self.objective.in_order(logs)

    # ---------------------------------------------------------------- predict
    def predict(self, x: Data, batch_size: int | None = None, verbose: Verbose = "auto",
                steps: int | None = None, callbacks: CallbacksSpec = None, lengths: Any = None) -> Arrays:
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
        simple = steps is None and callbacks is None and lengths is None
        together: Any = None
        if simple and verbose == 0 and distribution.distribution() is None:
            adapters.check_batch_size(batch_size, "predict")
            out = self.served.outputs(x, config.check_finite())
            if out is not None:
                return self.model.pack_outputs(out)
        if adapters.is_stream(x):
            adapters.note_batch_size(batch_size, x, "predict")
            if lengths is not None:
                raise ValueError(
                    f"predict: x is a {type(x).__name__}, which yields batches, so lengths cannot be given."
                )
            feed = self._data.stream_of_inputs(x, steps, "predict")
        else:
            inputs = self._data.inputs(x, "predict", views=True)
            lengths = self._data.lengths(lengths, inputs, "predict")
            if steps is None and callbacks is None and distribution.distribution() is not None:
                from tdfast.training.joined import shared_prediction

                together = shared_prediction(self.model, inputs)
            if together is not None:
                inputs, lengths = together.own(inputs), together.own(lengths)
            feed = self._data.arrays(Batch(inputs), lengths, batch_size, steps, "predict")
        calls = self._calls(callbacks, verbose, 1, feed.steps)
        if own_step.overrides(self.model, ("predict_step",)):
            return self._predict_by_steps(feed, calls)
        with _aborting(calls):
            prediction = Prediction(self, calls)
            calls.on_predict_begin()
            if isinstance(feed.source, ArrayBatches):
                out = prediction.of_arrays(feed, at_once=callbacks is None)
            else:
                out = prediction.of_batches(feed)
            calls.on_predict_end()
        if together is not None:
            out = together.of_all(out)
        elif simple and isinstance(feed.source, ArrayBatches):
            inputs = feed.source.arrays.inputs
            if len(inputs) == 1 and np.shape(x) == inputs[0].shape:
                self.served.saw(x, inputs[0].dtype)
        return self.model.pack_outputs(one_or_list(out))

    def _predict_by_steps(self, feed: EpochIterator, calls: Any) -> Any:
        """The outputs of a model with a ``predict_step`` of its own, batch by batch."""
        self.stop_predicting, made = False, []
        with _aborting(calls), self.lock.reading():
            calls.on_predict_begin()
            for i, batch in enumerate(feed):
                calls.on_predict_batch_begin(i)
                with kernel_arithmetic():
                    made.append(mapped(np.array, self.model.predict_step((one_or_list(batch.inputs),))))
                calls.on_predict_batch_end(i, {"outputs": made[-1]})
                if self.stop_predicting:
                    break
            calls.on_predict_end()
        parts = zip(*map(flatten, made))
        return packed_as(made[0], [np.concatenate(part) for part in parts])

    # ---------------------------------------------------------------- single batches
    @_exclusive
    def train_on_batch(self, x: Data, y: Data = None, sample_weight: Data = None,
                       class_weight: Mapping[Any, float] | None = None, return_dict: bool = False) -> Any:
        """One update on one batch: its loss, or a list with the metrics behind it."""
        self._require_compiled("train_on_batch")
        return_dict = flag(return_dict, "return_dict", "train_on_batch")
        batch = self._data.batch(x, y, sample_weight, "train_on_batch")
        batch = self._data.weigh_classes(batch, class_weight, "train_on_batch")
        peers = self._join()
        self.ready_to_train()
        if peers is not None:
            peers.agree_on(batch, "train_on_batch")
        with self.objective.counting_alone():
            self._step.reset()
            with Interrupts() as interrupts, interrupts.held(), kernel_arithmetic(), self._whole_step():
                self._step.train(batch)
            logs = self._step.logs()
        return logs if return_dict else self.objective.in_order(logs)

    @_exclusive
    def test_on_batch(self, x: Data, y: Data = None, sample_weight: Data = None,
                      return_dict: bool = False) -> Any:
        """The loss and the metrics of one batch."""
        self._require_compiled("test_on_batch")
        return_dict = flag(return_dict, "return_dict", "test_on_batch")
        batch = self._data.batch(x, y, sample_weight, "test_on_batch")
        peers = self._join()
        self._step.prepare(self.objective, self.optimizer)
        if peers is not None:
            peers.agree_on(batch, "test_on_batch")
        with self.objective.counting_alone(), tape_of(self.lock) as tape:
            self._step.reset()
            self._step.test(batch, tape)
            logs = self._step.logs()
        return logs if return_dict else self.objective.in_order(logs)

    def step_on(self, batch: Batch) -> None:
        """One training step on a batch that is checked already, for an optimizer that is ready."""
        with kernel_arithmetic(), self._whole_step():
            self._step.train(batch)

    # ---------------------------------------------------------------- profile
    @_exclusive
    def profile(self, x: Data, y: Data = None, batch_size: int | None = None, sample_weight: Data = None,
                steps: int = 10, lengths: Any = None) -> Profile:
        """Where the time goes: some training steps and predictions, measured layer by layer.

        Everything is put back afterwards: the weights, the optimizer, the random state, the states of layers
        and the metrics. (What code of your own keeps elsewhere is not.)

        Args:
            x, y, batch_size, sample_weight, lengths: as in `fit`. What yields batches is read for
                2 steps + 2 of them.
            steps: how many training steps and how many predictions to measure.

        Returns:
            A `tdfast.training.profile.Profile`, which prints as a table: for each layer the milliseconds of
            its forward and its backward pass and of a prediction, its share of the step, its calls, and
            whether it runs in kernels or in Python of your own; then the loss, the metrics, the optimizer,
            the data and the rest. For a model that is not compiled, predictions alone.

        Raises:
            ValueError: for data that does not fit, or that ends too early.

        >>> import numpy as np, tdfast
        >>> model = tdfast.Sequential([tdfast.layers.LSTM(4), tdfast.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> profile = model.profile(np.zeros((8, 5, 2)), np.zeros((8, 1)), steps=2)
        >>> [row.kind for row in profile.rows][:3], profile["optimizer"].calls
        (['LSTM', 'Dense', 'MeanSquaredError'], 1)
        >>> profile.rows[0].share < 1, profile.rows[0].runs_in, profile.rows[0].output_shape
        (True, 'kernel', (None, 4))
        """
        from tdfast.training.profile import profile  # imported by those who ask alone

        steps = adapters.check_count(steps, "profile: steps")
        if not steps:
            raise ValueError("profile: steps must be at least 1, got 0.")
        self._step.peers = None             # this process's own steps, which change nothing
        if self.trains:
            feed = self._data.for_evaluation(x, y, sample_weight, lengths, batch_size, None, "profile")
            if isinstance(feed.source, ArrayBatches):
                feed.source.shuffle = True          # as in fit
        elif adapters.is_stream(x):
            feed = self._data.stream_of_inputs(x, None, "profile")
        else:
            inputs = self._data.inputs(x, "profile", views=True)
            lengths = self._data.lengths(lengths, inputs, "profile")
            feed = self._data.arrays(Batch(inputs), lengths, batch_size, None, "profile")
        return profile(self, feed, steps)

    def predict_on_batch(self, x: Data) -> Arrays:
        """The outputs for one batch."""
        out = self.served.outputs(x, config.check_finite())
        if out is not None:
            return self.model.pack_outputs(out)
        rows = len(self._data.inputs(x, "predict_on_batch")[0])
        return self.predict(x, batch_size=rows, verbose=0)


class _Group:
    """The batches of which callbacks are told at once, see ``steps_per_execution``.

    Args:
        size: how many.
        tell_begin, tell_end: the callbacks' methods.
    """

    def __init__(self, size: int, tell_begin: Callable[..., Any], tell_end: Callable[..., Any]) -> None:
        self.size, self._tell_begin, self._tell_end = size, tell_begin, tell_end
        self._start: int | None = None

    def begin(self, i: int) -> None:
        """Before batch i."""
        if self._start is None:
            self._start = i
            self._tell_begin(i)

    def end(self, i: int, logs: Any) -> bool:
        """After batch i: whether a group ends with it."""
        if self.size > 1 and (i + 1) % self.size:
            return False
        self._start = None
        self._tell_end(i, logs)
        return True

    def finish(self, logs: Any) -> None:
        """At the end of all batches: a group that is not whole has the last number of a whole one."""
        if self._start is not None:
            self._tell_end(self._start + self.size - 1 - self._start % self.size, logs)
            self._start = None


@contextlib.contextmanager
def _aborting(calls: Any) -> Iterator[Any]:
    """Tell the callbacks when the block ends by an error."""
    try:
        yield
    except BaseException:
        calls.on_abort()
        raise


def _due(freq: Any) -> Any:
    """The function that tells whether to validate after an epoch, counted from 1."""
    if isinstance(freq, (list, tuple, set)):
        return lambda epoch: epoch in freq
    if isinstance(freq, bool) or not hasattr(freq, "__index__") or int(freq) < 1:
        raise ValueError(
            f"validation_freq must be a whole number of at least 1 or a list of epochs, got {freq!r}."
        )
    return lambda epoch: epoch % int(freq) == 0
