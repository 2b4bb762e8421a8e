"""What each layer becomes in C: a template for a class, filled in by the function in `STAGES`.

A stage is one C function, ``static void stage(state, x, y)`` or, without a state, ``stage(x, y)``: it takes
the numbers of one time step and gives those for the next layers. One that joins several takes x1, x2 and so
on. In the templates, $real is float or double, $f the suffix of C's functions, ${me} the name of the layer's
first stage, with which its arrays' names begin, $i the stage's number, $I and $N how many numbers come and
go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast import activations, layers
from tdfast.engine.network import Network
from tdfast.engine.operation import Operation
from tdfast.saving.c.activations import ACTIVATION, BODIES
from tdfast.saving.c.joining import joined, operation
from tdfast.saving.exporting import IDLE, activation_entry, check_dtype, converter_of, refuse

if TYPE_CHECKING:
    from tdfast.engine.types import Sizes
    from tdfast.engine.variable import Variable

MULTIPLY = """\
    int i, j;

    for (i = 0; i < rows; i++)
        for (j = 0; j < columns; j++) y[j] += x[i] * kernel[i * stride + j];
"""

DENSE = """\
    int j;

    for (j = 0; j < $N; j++) y[j] = $bias;
    ${multiply}($I, $N, $N, x, ${me}_kernel, y);
    $activation
"""

# Gates in Keras's order: i, f, c, o.
LSTM = """\
    $real z[4 * $N];
    int j;

    for (j = 0; j < 4 * $N; j++) z[j] = $bias;
    ${multiply}($I, 4 * $N, 4 * $N, x, ${me}_kernel, z);
    ${multiply}($N, 4 * $N, 4 * $N, s->h$i, ${me}_recurrent_kernel, z);
    $i_gate
    $f_gate
    $c_gate
    $o_gate
    for (j = 0; j < $N; j++) y[j] = s->c$i[j] = z[$N + j] * s->c$i[j] + z[j] * z[2 * $N + j];
    $output
    for (j = 0; j < $N; j++) s->h$i[j] = y[j] *= z[3 * $N + j];
"""

# Gates in Keras's order: z, r, h. The reset gate takes what the state gives to the candidate ...
GRU_RESET_AFTER = """\
    $real z[3 * $N], u[3 * $N];
    int j;

    for (j = 0; j < 3 * $N; j++) z[j] = $bias;
    for (j = 0; j < 3 * $N; j++) u[j] = $state_bias;
    ${multiply}($I, 3 * $N, 3 * $N, x, ${me}_kernel, z);
    ${multiply}($N, 3 * $N, 3 * $N, s->h$i, ${me}_recurrent_kernel, u);
    for (j = 0; j < 2 * $N; j++) z[j] += u[j];
    $z_gate
    $r_gate
    for (j = 0; j < $N; j++) z[2 * $N + j] += z[$N + j] * u[2 * $N + j];
    $candidate
    for (j = 0; j < $N; j++) s->h$i[j] = y[j] = z[j] * s->h$i[j] + (1 - z[j]) * z[2 * $N + j];
"""

# ... or the state itself.
GRU_RESET_BEFORE = """\
    $real z[3 * $N], r[$N];
    int j;

    for (j = 0; j < 3 * $N; j++) z[j] = $bias;
    ${multiply}($I, 3 * $N, 3 * $N, x, ${me}_kernel, z);
    ${multiply}($N, 2 * $N, 3 * $N, s->h$i, ${me}_recurrent_kernel, z);
    $z_gate
    $r_gate
    for (j = 0; j < $N; j++) r[j] = z[$N + j] * s->h$i[j];
    ${multiply}($N, $N, 3 * $N, r, ${me}_recurrent_kernel + 2 * $N, z + 2 * $N);
    $candidate
    for (j = 0; j < $N; j++) s->h$i[j] = y[j] = z[j] * s->h$i[j] + (1 - z[j]) * z[2 * $N + j];
"""

SIMPLE_RNN = """\
    int j;

    for (j = 0; j < $N; j++) y[j] = $bias;
    ${multiply}($I, $N, $N, x, ${me}_kernel, y);
    ${multiply}($N, $N, $N, s->h$i, ${me}_recurrent_kernel, y);
    $activation
    for (j = 0; j < $N; j++) s->h$i[j] = y[j];
"""

BATCH_NORMALIZATION = """\
    int j;

    for (j = 0; j < $N; j++) y[j] = (x[j] - ${me}_mean[j]) * ${me}_factor[j] + ${me}_beta[j];
"""

FACTOR_AND_TERM = """\
    int j;

    for (j = 0; j < $N; j++) y[j] = x[j] * ${me}_factor[j] + ${me}_term[j];
"""

PRELU = """\
    int j;

    for (j = 0; j < $N; j++) y[j] = x[j] > 0 ? x[j] : ${me}_alpha[j] * x[j];
"""

LAYER_NORMALIZATION = """\
    $real mean = 0, variance = 0, factor;
    int j;

    for (j = 0; j < $N; j++) mean += x[j];
    mean /= $N;
    for (j = 0; j < $N; j++) variance += (x[j] - mean) * (x[j] - mean);
    factor = 1 / sqrt$f(variance / $N + $epsilon);
    for (j = 0; j < $N; j++) y[j] = (x[j] - mean) * factor * ${me}_gamma[j] + ${me}_beta[j];
"""

# An id that is out of range gives NaN, since there is nobody to tell.
EMBEDDING = """\
    const int id = x[0] >= 0 && x[0] < $rows ? (int)x[0] : -1;
    int j;

    for (j = 0; j < $N; j++) y[j] = id < 0 ? ($real)NAN : ${me}_embeddings[(size_t)id * $N + j];
"""

# Over the steps so far; after the last that is over all.
GLOBAL_MAX = """\
    int j;

    for (j = 0; j < $N; j++) {
        if (s->steps == 0 || !(x[j] <= s->largest$i[j])) s->largest$i[j] = x[j];
        y[j] = s->largest$i[j];
    }
"""

GLOBAL_AVERAGE = """\
    int j;

    for (j = 0; j < $N; j++) {
        s->sum$i[j] += x[j];
        y[j] = s->sum$i[j] / ($real)(s->steps + 1);
    }
"""


@dataclass(eq=False)
class Value:
    """Some numbers on their way: of one time step, or of the sequence."""

    size: int
    timed: bool = True
    """Whether there is a time axis still."""
    offset: int | None = None
    """Of an input of the model: where its numbers begin; None for what a stage gives."""
    ids: bool = False
    """Whether it is an input of shape (batch, time): one number a step, which only an Embedding can take."""
    rows: int = 0
    """How many ids that Embedding has."""


@dataclass
class Stage:
    """One C function."""

    symbol: str
    title: str
    reads: list[Value]
    gives: Value
    stateful: bool
    body: str

    @property
    def over_time(self) -> bool:
        """Whether it works at every step, and not only on what the last one gave."""
        return self.reads[0].timed


class Source:
    """The parts of a C file, as the layers add them.

    Args:
        name: before which all names in C begin.
        dtype: 'float32' or 'float64'.

    Attributes:
        value: the `Value` that the next stage reads: what the last one gave, unless it is set.
    """

    def __init__(self, name: str, dtype: Any) -> None:
        self.name, self.dtype = name, np.dtype(dtype)
        self.real, self.f = ("float", "f") if self.dtype == np.float32 else ("double", "")
        self.helpers: dict[Any, Any] = {}
        self.arrays: list[Any] = []
        self.members: list[Any] = []
        self.stages: list[Any] = []
        self.parametric: dict[Any, Any] = {}
        self.owners: dict[Any, Any] = {}
        """(name, *parameters) of activations -> a number, by which their functions differ."""
        self.value: Any = None

    # ---------------------------------------------------------------- what stages are made of
    def fill(self, template: Any, **names: Any) -> Any:
        """The text of a template."""
        return Template(template).substitute(real=self.real, f=self.f, name=self.name, **names)

    def helper(self, what: str, arguments: Any, body: Any, **names: Any) -> Any:
        """The name of a static function that several stages share."""
        symbol = f"{self.name}_{what}"
        self.helpers[symbol] = (
            f"static void {symbol}({self.fill(arguments)})\n{{\n{self.fill(body, **names)}}}\n"
        )
        return symbol

    def array(self, symbol: Any, values: Any) -> Any:
        """A constant array with exactly these numbers."""
        values = np.asarray(values, self.dtype).ravel()
        self.arrays.append(
            f"static const {self.real} {symbol}[{values.size}] = {{\n{self.numbers(values)}\n}};\n"
        )

    def numbers(self, values: Any) -> Any:
        """Numbers in C, a few a line."""
        texts = [self.number(v) for v in values]
        return ",\n".join("    " + ", ".join(texts[i : i + 6]) for i in range(0, len(texts), 6))

    def number(self, value: Any) -> Any:
        """A number in C, exactly: in hexadecimal."""
        value = float(value)
        if value in (np.inf, -np.inf):
            return "-INFINITY" if value < 0 else "INFINITY"
        return "0" if value == 0 else re.sub(r"\.?0*p", "p", value.hex(), count=1) + self.f

    def apply(self, layer: Any, activation: Any, n: Any, x: Any) -> str:
        """The statement that applies one of a layer's activations to n numbers in place."""
        body = activation_entry(layer, activation, BODIES, "C")
        if body is None:
            return "/* linear */"
        what, parameters = activation.name, getattr(activation, "parameters", {})
        if parameters:
            unlike = self.parametric.setdefault((what, *parameters.values()), len(self.parametric) + 1)
            what = f"{what}_with_{unlike}"
        # There is no bound where there is none: not even infinity is above infinity.
        numbers = {k: self.number(self.dtype.type(np.inf if v is None else v)) for k, v in parameters.items()}
        return f"{self.helper(what, 'int n, $real *x', body, **numbers)}({n}, {x});"

    # ---------------------------------------------------------------- stages
    def add(self, layer: Any, template: Any, outputs: Any, arrays: Any = None, members: Any = (),
            reads: Any = None, ends_time: bool = False, **names: Any) -> None:
        """Add the stage of a layer.

        Args:
            template: the body.
            outputs: how many numbers go.
            arrays: name -> values, or None where there are none, which are then 0 in "bias" and its like.
            members: parts of the state, with as many numbers as go.
            reads: the values that it joins; None: `value`.
            ends_time: whether what it gives at the last step is that of the sequence.
            names: more for the template.
        """
        reads = [self.value] if reads is None else reads
        i = len(self.stages) + 1
        symbol = f"{self.name}_{i}_{plain(layer.name)}"
        me = self.owners.setdefault((id(layer), template), symbol)      # its weights are in the file once
        for name, values in (arrays or {}).items():
            if values is not None and me == symbol:
                if not np.isfinite(values).all():
                    refuse(layer, f"cannot be exported: its {name} holds numbers that are not finite.")
                self.array(f"{me}_{name}", values)
            names.setdefault(name, "0" if values is None else f"{me}_{name}[j]")
        multiply = ""
        if "${multiply}" in template:
            arguments = "int rows, int columns, int stride, const $real *x, const $real *kernel, $real *y"
            multiply = self.helper("multiply", arguments, MULTIPLY)
        body = self.fill(template, me=me, i=i, I=reads[0].size, N=outputs, multiply=multiply, **names)
        label = plain(layer.name)
        self.members += [f"    {self.real} {member}{i}[{outputs}];    /* of {label} */" for member in members]
        inputs = " and ".join(str(value.size) for value in reads)
        title = f"{label} ({type(layer).__name__}): {inputs} to {outputs}"
        self.value = Value(outputs, timed=reads[0].timed and not ends_time)
        self.stages.append(Stage(symbol, title, reads, self.value, "s->" in template, body))


def plain(name: str) -> Any:
    """A layer's name as part of a name in C, and harmless in a comment.

    >>> plain("my layer */")
    'my_layer___'
    """
    return re.sub(r"[^A-Za-z0-9_]", "_", name)[:40]


def add_graph(source: Any, graph: Any, values: Any, shapes: Any) -> list[Any]:
    """Add the stages of all calls of a graph; the `Value` of each output."""

    def call(node: Any, given: Any) -> Any:
        given = given if isinstance(given, list) else [given]
        values, shapes = [value for value, _ in given], [shape for _, shape in given]
        made = add_call(source, node, values, shapes)
        out = node.output_shape(shapes if len(shapes) > 1 else shapes[0])
        return (made[0], out) if len(node.outputs) == 1 else list(zip(made, out))

    return [value for value, _ in graph.walk(list(zip(values, shapes)), call)]


def add_call(source: Any, node: Any, values: Any, shapes: Any) -> list[Any]:
    """Add the stages of one call; the `Value` of each of its outputs."""
    layer = node.layer
    if isinstance(layer, Operation):
        return [operation(source, node, values)]
    if node.keywords or node.masks or set(node.options) - {"training"}:
        refuse(layer, "is called with further arguments, which cannot be exported to C.")
    if type(layer).forward is Network.forward:
        return add_graph(source, layer.graph, values, shapes)
    if len(values) > 1:
        check_dtype(layer, source.dtype)
        return [joined(source, layer, values, shapes)]
    source.value = values[0]
    add_layer(source, layer, shapes[0])
    return [source.value]


def add_layer(source: Any, layer: Any, shape: Sizes) -> None:
    """Add the stages of a layer on `Source.value`, whose shape is given."""
    to_stages = converter_of(layer, STAGES, "C")
    check_dtype(layer, source.dtype)
    if source.value.ids and to_stages not in (_network, _nothing, _embedding):
        refuse(layer, f"takes inputs of shape {shape}, which have no time axis: C code is for sequences.")
    to_stages(source, layer, shape)


def _network(source: Any, model: Any, shape: Sizes) -> None:
    (source.value,) = add_graph(source, model.graph, [source.value], [shape])


def _time_distributed(source: Any, layer: Any, shape: Sizes) -> None:
    add_layer(source, layer.layer, (shape[0], *shape[2:]))


def _nothing(source: Any, layer: Any, shape: Sizes) -> None:
    pass


def _dense(source: Any, layer: Any, shape: Sizes) -> None:
    source.add(layer, DENSE, layer.units, {"kernel": layer.kernel.value, "bias": _value(layer.bias)},
               activation=source.apply(layer, layer.activation, layer.units, "y"))


def _activation(source: Any, layer: Any, shape: Sizes) -> None:
    source.add(layer, ACTIVATION, shape[-1],
               activation=source.apply(layer, layer.activation, shape[-1], "y"))


def _lstm(source: Any, layer: Any, shape: Sizes) -> None:
    f, g = layer.activation, layer.recurrent_activation
    _recurrent(source, layer, shape, LSTM, "hc", i_gate=(g, "z"), f_gate=(g, "z + N"),
               c_gate=(f, "z + 2 * N"),
               o_gate=(g, "z + 3 * N"), output=(f, "y"))


def _gru(source: Any, layer: Any, shape: Sizes) -> None:
    g = layer.recurrent_activation
    _recurrent(source, layer, shape, GRU_RESET_AFTER if layer.reset_after else GRU_RESET_BEFORE, "h",
               z_gate=(g, "z"), r_gate=(g, "z + N"), candidate=(layer.activation, "z + 2 * N"))


def _simple_rnn(source: Any, layer: Any, shape: Sizes) -> None:
    _recurrent(source, layer, shape, SIMPLE_RNN, "h", activation=(layer.activation, "y"))


def _recurrent(source: Any, layer: Any, shape: Sizes, template: Any, members: Any, **gates: Any) -> None:
    """A cell: for each of its gates the activation, and where its N numbers begin."""
    for option in ("go_backwards", "return_state"):
        if getattr(layer, option):
            refuse(layer, f"cannot be exported to C with {option}=True.")
    n, bias = layer.units, _value(layer.bias)
    arrays = {"kernel": layer.kernel.value, "recurrent_kernel": layer.recurrent_kernel.value, "bias": bias}
    if template is GRU_RESET_AFTER:
        arrays.update(zip(("bias", "state_bias"), (None, None) if bias is None else bias))
    statements = {what: source.apply(layer, f, n, at.replace("N", str(n))) for what, (f, at) in gates.items()}
    source.add(layer, template, n, arrays, members, ends_time=not layer.return_sequences, **statements)


def _value(variable: Variable) -> Any:
    return None if variable is None else variable.value


def _check_features(layer: Any, axes: Any, shape: Sizes) -> None:
    if layer.axes_in(axes, shape) != [len(shape) - 1]:
        refuse(layer, f"cannot be exported to C with axis={layer.axis}: only along the features, axis=-1.")


def _batch_normalization(source: Any, layer: Any, shape: Sizes) -> None:
    _check_features(layer, [layer.axis], shape)
    factor = 1 / np.sqrt(layer.moving_variance.value.astype(np.float64) + layer.epsilon)
    arrays = {"mean": layer.moving_mean.value, "factor": factor * layer.gamma.value if layer.scale
              else factor,
              "beta": layer.beta.value if layer.center else np.zeros(shape[-1])}
    source.add(layer, BATCH_NORMALIZATION, shape[-1], arrays)


def _one_step(layer: Any, values: Any, shape: Sizes) -> Any:
    """What broadcasts to (batch, time, features), or to (batch, features), as a vector that is the same at
    all steps."""
    values = np.broadcast_to(values, [1 if size is None else size for size in (1, *shape[1:])])
    if values.ndim == 3:
        if (values != values[:, :1]).any():
            refuse(layer, "cannot be exported to C with numbers that differ from one time step to the next.")
        values = values[:, 0]
    return values[0]


def _rescaling(source: Any, layer: Any, shape: Sizes) -> None:
    arrays = {"factor": _one_step(layer, layer._scale, shape), "term": _one_step(layer, layer._offset, shape)}
    source.add(layer, FACTOR_AND_TERM, shape[-1], arrays)


def _normalization(source: Any, layer: Any, shape: Sizes) -> None:
    mean, deviation = (_one_step(layer, a, shape) for a in layer._statistics(shape))
    if layer.invert:
        source.add(layer, FACTOR_AND_TERM, shape[-1], {"factor": deviation, "term": mean})
    else:
        arrays = {"mean": mean, "factor": 1 / deviation, "beta": np.zeros(shape[-1])}
        source.add(layer, BATCH_NORMALIZATION, shape[-1], arrays)


def _prelu(source: Any, layer: Any, shape: Sizes) -> None:
    source.add(layer, PRELU, shape[-1], {"alpha": _one_step(layer, layer.alpha.value, shape)})


def _softmax(source: Any, layer: Any, shape: Sizes) -> None:
    if layer._axes(len(shape)) != [len(shape) - 1]:
        refuse(layer, f"cannot be exported to C with axis={layer.axis}: only along the features, axis=-1.")
    source.add(layer, ACTIVATION, shape[-1],
               activation=source.apply(layer, activations.softmax, shape[-1], "y"))


def _layer_normalization(source: Any, layer: Any, shape: Sizes) -> None:
    _check_features(layer, layer.axis, shape)
    n = shape[-1]
    arrays = {"gamma": layer.gamma.value if layer.scale else np.ones(n),
              "beta": layer.beta.value if layer.center else np.zeros(n)}
    source.add(layer, LAYER_NORMALIZATION, n, arrays,
               epsilon=source.number(source.dtype.type(layer.epsilon)))


def _embedding(source: Any, layer: Any, shape: Sizes) -> None:
    if layer.mask_zero:
        refuse(layer, "cannot be exported to C with mask_zero=True: the C code leaves out no steps.")
    if not source.value.ids:
        refuse(
            layer, "cannot be exported to C unless it is the first layer, on inputs of shape (batch, time)."
        )
    if layer.input_dim > 2**24 and source.f:
        refuse(
            layer,
            f"cannot be exported to C with input_dim={layer.input_dim}: a float holds ids up to 2**24 alone.",
        )
    arrays = {"embeddings": layer.embeddings.value}
    source.value.rows = min(source.value.rows or layer.input_dim, layer.input_dim)
    source.add(layer, EMBEDDING, layer.output_dim, arrays, rows=layer.input_dim)


def _global_pool(source: Any, layer: Any, shape: Sizes) -> None:
    if layer.keepdims:
        refuse(layer, "cannot be exported to C with keepdims=True.")
    template, member = (GLOBAL_AVERAGE, "sum") if layer.mean else (GLOBAL_MAX, "largest")
    source.add(layer, template, shape[-1], members=[member], ends_time=True)


STAGES = {
    Network: _network,
    layers.TimeDistributed: _time_distributed,
    layers.LSTM: _lstm,
    layers.GRU: _gru,
    layers.SimpleRNN: _simple_rnn,
    layers.Dense: _dense,
    layers.Activation: _activation,
    layers.BatchNormalization: _batch_normalization,
    layers.LayerNormalization: _layer_normalization,
    layers.Embedding: _embedding,
    layers.GlobalMaxPooling1D: _global_pool,
    layers.GlobalAveragePooling1D: _global_pool,
    layers.ReLU: _activation,
    layers.LeakyReLU: _activation,
    layers.ELU: _activation,
    layers.PReLU: _prelu,
    layers.Softmax: _softmax,
    layers.Rescaling: _rescaling,
    layers.Normalization: _normalization,
    **dict.fromkeys(IDLE, _nothing),
}
