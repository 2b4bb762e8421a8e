"""What the estimators share: the check of X, parameters, the model, seeds, and one way to train."""

from __future__ import annotations

import contextlib
import copy
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import activations, callbacks, config, layers, losses, models, optimizers, random, runtime
from tdfast.engine.layer import Layer
from tdfast.sklearn.arrays import as_sequences, check_layout, number_of_axes, reversed_in_time
from tdfast.sklearn.installed import base_class

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sklearn.base import BaseEstimator

    from tdfast.engine.types import Array, CallbacksSpec, LossSpec, OptimizerSpec, Sizes, Verbose
else:
    BaseEstimator = base_class("BaseEstimator")


CELLS = {"lstm": layers.LSTM, "gru": layers.GRU, "rnn": layers.SimpleRNN}
PREFIX = "model__"


class Checked(BaseEstimator):
    """An estimator whose X has two axes or more, with scikit-learn's checks."""

    n_features_in_: int
    _axes: int

    def _checked_x(self, x: Any, reset: bool, dtypes: Any, most: int | None = None) -> Array:
        """X as an array. Fitting remembers its axes, its features and their names; else it must have those.

        Args:
            x: what the user gave.
            reset: whether this is a fit.
            dtypes: the dtype of the result, or a list of those that may stay.
            most: the most axes.
        """
        from sklearn.utils.validation import check_array, validate_data

        who = type(self).__name__
        axes = number_of_axes(x, who)
        if not reset and axes > 1 and axes != self._axes:
            raise ValueError(f"{who} was fitted on X of {self._axes} axes, but got X of {axes} axes.")
        if axes < 3:
            x = validate_data(self, x, reset=reset, dtype=dtypes, ensure_min_features=1)
        else:
            x = check_array(x, allow_nd=True, dtype=dtypes, estimator=self, input_name="X")
        if most is not None and x.ndim > most:
            raise ValueError(
                f"{who}: X must have the shape (samples, time, feature), or (samples, columns) with a window "
                f"in each row, got {x.shape}."
            )
        if axes >= 3:
            self._look_at_features(x, reset)
        if reset:
            self._axes = x.ndim
        return x

    def _look_at_features(self, x: Array, reset: bool) -> None:
        """`n_features_in_` of an array of three axes: scikit-learn would take the time steps for it."""
        first = getattr(self, "layout", "time-feature") == "feature-time"
        found = x.shape[1] if first else x.shape[-1]
        if reset:
            self.__dict__.pop("feature_names_in_", None)
            self.n_features_in_ = found
        elif found != self.n_features_in_:
            raise ValueError(
                f"X has {found} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                f"features as input: X has the shape {x.shape}."
            )

    def _check_fitted(self) -> None:
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_axes")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class SequenceEstimator(Checked):
    """The parameters and the training of `SequenceRegressor` and `SequenceClassifier`, which say what they
    are."""

    model_: Any
    history_: dict[str, list[float]]
    n_iter_: int
    _per_step: bool
    _calls: int

    def __init__(
        self, model: Any = None, *, cell: str = "lstm", units: int = 32, layers: int = 1,
        bidirectional: bool = False, dropout: float = 0.0, recurrent_dropout: float = 0.0,
        return_sequences: bool = False, loss: LossSpec = None, optimizer: OptimizerSpec = "adam",
        learning_rate: Any = None, epochs: int = 100, batch_size: int = 32, shuffle: bool = True,
        early_stopping: bool = False, validation_fraction: float = 0.1, n_iter_no_change: int = 10,
        warm_start: bool = False, n_features: int | None = 1, layout: str = "time-feature",
        newest_first: bool = False, callbacks: CallbacksSpec = None, random_state: Any = None,
        n_threads: int | None = None, verbose: Verbose = 0, **model__keywords: Any,
    ) -> None:
        self.model = model
        self.cell = cell
        self.units = units
        self.layers = layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.return_sequences = return_sequences
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.n_features = n_features
        self.layout = layout
        self.newest_first = newest_first
        self.callbacks = callbacks
        self.random_state = random_state
        self.n_threads = n_threads
        self.verbose = verbose
        for name, value in model__keywords.items():
            self._check_argument(name)
            setattr(self, name, value)

    # ---------------------------------------------------------------- parameters
    def _check_argument(self, name: str) -> None:
        """Raise an error for a keyword that is neither a parameter nor a ``model__`` one."""
        if not name.startswith(PREFIX):
            raise TypeError(
                f"{type(self).__name__} has no parameter {name!r}. It has: "
                f"{', '.join(self._get_param_names())}, and {PREFIX}NAME for the keywords of a function as "
                "model."
            )

    def _keywords(self) -> tuple[dict[str, Any], bool]:
        """Those of the function ``model`` with their defaults, and whether it takes any others."""
        if self.model is None or isinstance(self.model, Layer) or not callable(self.model):
            return {}, False
        given = list(inspect.signature(self.model).parameters.values())
        named = {p.name: p.default for p in given[2:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        return named, any(p.kind is p.VAR_KEYWORD for p in given)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters, and as ``model__NAME`` those of the function that makes the model.

        Args:
            deep: False leaves out the function's defaults.
        """
        params = dict(super().get_params(deep=deep))
        if deep:
            params.update({PREFIX + name: value for name, value in self._keywords()[0].items()
                           if value is not inspect.Parameter.empty})
        params.update({name: value for name, value in vars(self).items() if name.startswith(PREFIX)})
        return params

    def set_params(self, **params: Any) -> SequenceEstimator:
        """Set parameters, ``model__NAME`` too.

        Raises:
            ValueError: for a name that there is not.
        """
        own = {name: value for name, value in params.items() if not name.startswith(PREFIX)}
        super().set_params(**own)
        named, others = self._keywords()
        for name in params:
            if name not in own:
                if name.removeprefix(PREFIX) not in named and not others and name not in vars(self):
                    raise ValueError(
                        f"Invalid parameter {name!r} for {type(self).__name__}: {self._says_keywords(named)}"
                    )
                setattr(self, name, params[name])
        return self

    def _says_keywords(self, named: Any) -> str:
        if named:
            return f"the function model has {', '.join(PREFIX + name for name in named)}."
        return "model is no function with keywords beyond (input_shape, n_outputs)."

    # ---------------------------------------------------------------- the model
    def _made(self, shape: tuple[int, ...], n_outputs: int) -> Any:
        """The model for sequences of this shape, (time, feature) or (time,), built and compiled."""
        model = self._model_for(shape, n_outputs)
        if not model.compiled or model.loss is None:
            model.compile(self._new_optimizer(), self._new_loss())
        elif self.loss is not None:
            raise ValueError(
                f"{type(self).__name__}: the model is compiled already, so loss= says nothing. Compile it "
                "with that loss, or give a model that is not compiled."
            )
        if self.learning_rate is not None:
            model.optimizer.learning_rate = self.learning_rate
        if not model.built:
            model.build((None, *shape))
        return model

    def _model_for(self, shape: tuple[int, ...], n_outputs: int) -> Any:
        model, who = self.model, type(self).__name__
        if model is None:
            return self._own_model(shape[1], n_outputs)
        if isinstance(model, (models.Sequential, models.Functional)):
            return models.clone_model(model)
        if isinstance(model, Layer) or not callable(model):
            raise TypeError(
                f"{who}: model must be None, a tdfast.Sequential or a tdfast.Model of a graph, or a function "
                f"f(input_shape, n_outputs, ...) that makes a model, got {model!r}."
            )
        named, others = self._keywords()
        given = {name.removeprefix(PREFIX): value for name, value in vars(self).items()
                 if name.startswith(PREFIX)}
        unknown = [name for name in given if name not in named and not others]
        if unknown:
            raise ValueError(
                f"{who}: there is a parameter {PREFIX}{unknown[0]}, but {self._says_keywords(named)}"
            )
        made = model(shape, n_outputs, **given)
        if not isinstance(made, models.Model):
            raise TypeError(f"{who}: the function model must return a tdfast model, got {made!r}.")
        return made

    def _own_model(self, features: int, n_outputs: int) -> Any:
        """Recurrent layers and a Dense one, for any number of time steps."""
        shape: Any = None, features
        stack: list[Any] = [layers.Input(shape)]
        for i in range(self.layers):
            cell = CELLS[self.cell](
                self.units, return_sequences=self._per_step or i < self.layers - 1, dropout=self.dropout,
                recurrent_dropout=self.recurrent_dropout)
            stack.append(layers.Bidirectional(cell) if self.bidirectional else cell)
        return models.Sequential([*stack, layers.Dense(n_outputs, activation=self._activation())])

    def _new_optimizer(self) -> Any:
        optimizer = optimizers.get(self.optimizer)
        if isinstance(self.optimizer, optimizers.Optimizer):
            return type(optimizer).from_config(optimizer.get_config())
        return optimizer

    def _new_loss(self) -> Any:
        """Of a name: with the mean over all weights, so that a weight of 2 is what the row twice is."""
        given = self._loss_spec()
        loss = copy.copy(losses.get(given))
        if not isinstance(given, losses.Loss):
            loss.reduction = "mean_with_sample_weight"
        return loss

    # ---------------------------------------------------------------- data
    def _sequences(self, x: Any, lengths: Any, reset: bool) -> Array:
        """X as the model takes it: (samples, time, feature), the oldest step first."""
        dtype = config.floatx() if reset else self.model_.dtype
        x = self._checked_x(x, reset, np.dtype(dtype), most=3)
        x = as_sequences(x, self.n_features, self.layout, type(self).__name__)
        if not self.newest_first:
            return x
        return reversed_in_time(x, steps_told(lengths, x.shape, type(self).__name__))

    def _in_order(self, a: Any, lengths: Any) -> Any:
        """Values per step, from the order of X's time steps to the model's, and back."""
        return reversed_in_time(a, lengths) if self.newest_first and self._per_step else a

    def _weights(self, sample_weight: Any, x: Array) -> Array | None:
        """One for each sample, or for each step, (samples, time)."""
        if sample_weight is None:
            return None
        weight = np.asarray(sample_weight)
        if weight.ndim == 2 and self._per_step:
            weight = weight.astype(x.dtype)
            if weight.shape != x.shape[:2]:
                raise ValueError(
                    f"{type(self).__name__}: sample_weight has the shape {weight.shape}, but X has "
                    f"{x.shape[0]} samples of {x.shape[1]} time steps."
                )
            return weight
        from sklearn.utils.validation import _check_sample_weight

        return _check_sample_weight(sample_weight, x, dtype=x.dtype)

    def _check_steps(self, y: Array, x: Array) -> None:
        """Raise a ValueError unless y has a target for each time step exactly where the model has one."""
        who = type(self).__name__
        if self._per_step and y.shape[1:2] != x.shape[1:2]:
            raise ValueError(
                f"{who}: the model gives a value for each of {x.shape[1]} time steps, so y must have the "
                f"shape (samples, time), or with one more axis, got {y.shape}."
            )
        if not self._per_step and (self.return_sequences or y.ndim == 3):
            raise ValueError(
                f"{who}: y has a target for each time step, {y.shape}, but the model's outputs have the "
                f"shape {self.model_.output_shape}: its recurrent layers need return_sequences=True."
            )

    # ---------------------------------------------------------------- training
    def _check_parameters(self) -> None:
        who = type(self).__name__
        check_layout(self.n_features, self.layout, who, as_they_are=True)
        if self.n_features is None and self.model is None:
            raise ValueError(
                f"{who}: n_features=None hands rows to a model as they are, such as one that begins with an "
                "Embedding. Give a model, or n_features=1 for series of one feature."
            )
        if self.cell not in CELLS:
            raise ValueError(f"{who}: cell must be one of {', '.join(map(repr, CELLS))}, got {self.cell!r}.")
        for name in ("units", "layers", "epochs", "n_iter_no_change"):
            value = getattr(self, name)
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not whole or value < 1:
                raise ValueError(f"{who}: {name} must be a whole number of at least 1, got {value!r}.")
        if self.early_stopping and not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"{who}: validation_fraction must be between 0 and 1, got {self.validation_fraction!r}."
            )

    def _seed(self, calls: int) -> int:
        """Of the fit after so many others on the same weights; of the first, random_state itself."""
        if self.random_state is None:
            return random.make_default_seed()
        if isinstance(self.random_state, (int, np.integer)):
            first = int(self.random_state)
        else:
            from sklearn.utils import check_random_state

            first = int(check_random_state(self.random_state).randint(2**31 - 1))
        return int(np.random.SeedSequence([first, calls]).generate_state(1)[0]) if calls else first

    @contextlib.contextmanager
    def _threads(self) -> Iterator[None]:
        if self.n_threads is None:
            yield
        else:
            with runtime.threads(self.n_threads):
                yield

    def _all_epochs(self, x: Any, y: Any, sample_weight: Any, lengths: Any, anew: bool) -> Any:
        self.history_ = self._learn(x, y, sample_weight, lengths, anew, self.epochs)
        self.n_iter_ = len(self.history_["loss"])
        return self

    def _one_epoch(self, x: Any, y: Any, sample_weight: Any, lengths: Any) -> Any:
        anew = not hasattr(self, "model_")
        history = self._learn(x, y, sample_weight, lengths, anew, 1, stops=False)
        if anew:
            self.history_, self.n_iter_ = {}, 0
        for name, values in history.items():
            self.history_.setdefault(name, []).extend(values)
        self.n_iter_ += 1
        return self

    def _learn(self, x: Any, y: Any, sample_weight: Any, lengths: Any, anew: bool, epochs: int,
               stops: bool = True) -> Any:
        """Make a model, or go on with the one that is there, and train it: the history."""
        who = type(self).__name__
        self._check_parameters()
        if y is None:
            raise ValueError(f"{who} requires y to be passed, but the target y is None.")
        x = self._sequences(x, lengths, reset=anew)
        lengths = steps_told(lengths, x.shape, who)
        y = self._targets(y, x, anew)
        kept, apart = self._split(y) if stops and self.early_stopping else (None, None)
        calls = 0 if anew else self._calls
        with random.scope(self._seed(calls)), self._threads():
            with self._beginning() if anew else contextlib.nullcontext():
                if anew:
                    self._per_step = bool(self.return_sequences) or y.ndim == 3
                    self.model_ = self._made(x.shape[1:], self._width(y))
                    self._per_step = len(self.model_.output_shape) == 3
                self._check_steps(y, x)
                weight = self._weights(sample_weight, x)
                if anew:
                    self._measure(*(None if a is None else a if kept is None else a[kept]
                                    for a in (y, weight, lengths)))
                y = self._in_order(self._aims(y), lengths)
            if weight is not None and weight.ndim == 2:
                weight = self._in_order(weight, lengths)
            self._calls = calls + 1
            return self._fit(x, y, weight, lengths, kept, apart, epochs)

    @contextlib.contextmanager
    def _beginning(self) -> Iterator[None]:
        """For what is done before a new model is trained: an error leaves none that does not fit."""
        try:
            yield
        except BaseException:
            self.__dict__.pop("model_", None)
            raise

    def _split(self, y: Array) -> tuple[Any, Any]:
        """The rows to train on and those that early stopping measures."""
        apart = self._apart(y)
        kept = np.setdiff1d(np.arange(len(y)), apart)
        if not len(apart) or not len(kept):
            raise ValueError(
                f"{type(self).__name__}: early_stopping keeps validation_fraction={self.validation_fraction}"
                f" of the samples apart to measure: of {len(y)} samples {len(apart)}, which leaves "
                f"{len(kept)} to train on. Give more samples, another fraction, or early_stopping=False."
            )
        return kept, apart

    def _fit(self, x: Array, y: Array, weight: Any, lengths: Any, kept: Any, apart: Any, epochs: int) -> Any:
        """The history of the model's `fit`."""
        given = self.callbacks
        calls = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
        held: dict[str, Any] = {}
        if apart is not None:
            held["validation_data"] = tuple(a[apart] for a in (x, y, weight) if a is not None)
            held["validation_lengths"] = None if lengths is None else lengths[apart]
            x, y = x[kept], y[kept]
            weight, lengths = (None if a is None else a[kept] for a in (weight, lengths))
            calls.append(callbacks.EarlyStopping(patience=self.n_iter_no_change, restore_best_weights=True))
        return self.model_.fit(x, y, epochs=epochs, batch_size=self.batch_size, shuffle=self.shuffle,
                               verbose=self.verbose, callbacks=calls, sample_weight=weight, lengths=lengths,
                               **held).history

    def _outputs(self, x: Any, lengths: Any) -> Array:
        """What the model says of X, the steps in X's order."""
        self._check_fitted()
        x = self._sequences(x, lengths, reset=False)
        lengths = steps_told(lengths, x.shape, type(self).__name__)
        with self._threads():
            out = self.model_.predict(x, verbose=0, lengths=lengths)
        return self._in_order(out, lengths)

    def _goes_on(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "model_")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")


def ends_linear(model: Any) -> str | None:
    """What the last layer applies to its sums, if that is not linear: the activation's name.

    >>> from tdfast.layers import Dense
    >>> model = models.Sequential([layers.Input((3,)), Dense(1, activation="relu")])
    >>> ends_linear(model)
    'relu'
    """
    layer = model.layers[-1]
    while hasattr(layer, "layer"):
        layer = layer.layer
    activation = getattr(layer, "activation", None)
    if activation is None or activation is activations.linear or isinstance(layer, tuple(CELLS.values())):
        return None
    return str(getattr(activation, "name", getattr(activation, "__name__", activation)))


def steps_told(lengths: Any, shape: Sizes, who: str) -> Any:
    """``lengths`` as an array of one whole number for each sample of X, of this shape; None stays None.

    >>> steps_told([1, 3], (2, 3, 1), "SequenceRegressor").tolist()
    [1, 3]
    >>> steps_told([1, 4], (2, 3, 1), "SequenceRegressor")
    Traceback (most recent call last):
    ValueError: SequenceRegressor: lengths must have a whole number from 0 to 3 for each of 2 samples...
    """
    if lengths is None:
        return None
    lengths = np.asarray(lengths)
    good = lengths.shape == (shape[0],) and lengths.dtype.kind in "iu"
    if not good or (lengths.size and not (0 <= lengths.min() and lengths.max() <= shape[1])):
        raise ValueError(
            f"{who}: lengths must have a whole number from 0 to {shape[1]} for each of {shape[0]} samples, "
            f"got {lengths!r}."
        )
    return lengths


def check_outputs(model: Any, wanted: Sequence[int], what: str, who: str) -> None:
    """Raise a ValueError unless the model has one output, of one of these numbers of units."""
    shape = model.output_shape
    if not isinstance(shape, tuple):
        raise ValueError(f"{who}: model must have one output, got outputs of shapes {shape}.")
    if shape[-1] not in wanted:
        raise ValueError(
            f"{who}: the model's outputs have the shape {shape}, but {what}, so its last layer must have "
            f"{' or '.join(map(str, wanted))} units."
        )
