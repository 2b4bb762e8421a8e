"""A model as one C file."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from tdfast._version import __version__
from tdfast.compat.calling import spelled
from tdfast.engine.tape import Tape
from tdfast.saving.atomic import replacing
from tdfast.saving.c.joining import copied, names_of
from tdfast.saving.c.source import Source, Value, add_graph, plain
from tdfast.saving.exporting import changed, check_model

if TYPE_CHECKING:
    from collections.abc import Iterator

SELF_TEST_STEPS = 5

FILE = """\
/* $title, written by tdfast $version. C99; needs the C library's mathematics alone (-lm).
 *
$about *
 *     ${name}_state state;
 *     ${name}_init(&state);
 *     ${name}_step(&state, x, y);      for each time step: x[${NAME}_INPUTS], y[${NAME}_OUTPUTS]
 *
 * ${step_about}
 * x and y must not overlap. A state may be copied, to come back to it. No function allocates, or keeps
 * anything but in the state.
 *
 *     ${name}_run(x, steps, y);        a whole sequence, at least one step: x[steps][${NAME}_INPUTS],
 *                                      ${run_about}
 *     ${name}_selftest();              0 if the numbers are those that the model gave when it was written
 *
 * With -D${NAME}_MAIN the file is a program that runs the self-test.
 */

#include <math.h>
#include <stddef.h>

enum { ${NAME}_INPUTS = $inputs, ${NAME}_OUTPUTS = $outputs };

typedef struct {
    unsigned long steps;
$members} ${name}_state;

void ${name}_init(${name}_state *s);
void ${name}_step(${name}_state *s, const $real *x, $real *y);
void ${name}_run(const $real *x, int steps, $real *y);
int ${name}_selftest(void);

/* ---------------------------------------------------------------- weights */

$arrays
/* ---------------------------------------------------------------- layers */

$helpers
$stages
/* ---------------------------------------------------------------- the model */

${chains}void ${name}_init(${name}_state *s)
{
    static const ${name}_state zero = {0};

    *s = zero;
}

void ${name}_step(${name}_state *s, const $real *x, $real *y)
{
$step}

void ${name}_run(const $real *x, int steps, $real *y)
{
    ${name}_state s;
    int t;
$run}

/* ---------------------------------------------------------------- self-test */

static int ${name}_differ(int n, const $real *y, const $real *want)
{
    int j;

    for (j = 0; j < n; j++)
        if (!(y[j] == want[j] || fabs$f(y[j] - want[j]) <= $tolerance * (1 + fabs$f(want[j])))) return 1;
    return 0;
}

int ${name}_selftest(void)
{
    static const $real x[$test_steps * ${NAME}_INPUTS] = {
$test_x
    };
    static const $real want[$test_rows * ${NAME}_OUTPUTS] = {
$test_y
    };
    $real y[$test_rows * ${NAME}_OUTPUTS];
    ${name}_state s;
    int t;

    ${name}_run(x, $test_steps, y);
    if (${name}_differ($test_rows * ${NAME}_OUTPUTS, y, want)) return 1;
    ${name}_init(&s);
    for (t = 0; t < $test_steps; t++) ${name}_step(&s, x + t * ${NAME}_INPUTS, y$at_t);
    return ${name}_differ($test_rows * ${NAME}_OUTPUTS, y, want) ? 2 : 0;
}

#ifdef ${NAME}_MAIN
#include <stdio.h>

int main(void)
{
    const int failed = ${name}_selftest();

    puts(failed ? "$name: the self-test FAILED" : "$name: the self-test passed");
    return failed;
}
#endif
"""

# The bodies of step and run; first where the last step's output is the model's, ...
STEP = """\
    ${name}_over_time(s, x, y);
"""
RUN = """\

    ${name}_init(&s);
    for (t = 0; t < steps; t++) ${name}_over_time(&s, x + (size_t)t * ${NAME}_INPUTS, y$at_t);
"""
# ... then where layers follow on it.
STEP_AND_END = """\
    $real last[$last];

    ${name}_over_time(s, x, last);
    ${name}_at_end(last, y);
"""
RUN_AND_END = """\
    $real last[$last] = {0};

    ${name}_init(&s);
    for (t = 0; t < steps; t++) ${name}_over_time(&s, x + (size_t)t * ${NAME}_INPUTS, last);
    ${name}_at_end(last, y);
"""


@spelled
def export_c(model: Any, path: Any, name: str = "model") -> None:
    """Write a model to one C99 file that computes what `predict` does, for one sequence.

    The file holds the weights, in the model's dtype, the functions ``NAME_init(&state)``,
    ``NAME_step(&state, x, y)`` for one time step and ``NAME_run(x, steps, y)`` for a sequence, and a
    self-test, ``NAME_selftest()``. It allocates nothing and needs nothing but the C library's mathematics.
    Where the output is one vector a sequence, a step gives that of the steps so far.

    Args:
        model: a built model of layers on sequences: recurrent, Dense, TimeDistributed, Activation, Dropout
            and normalizing layers, with an Embedding at the start or a global pooling at the end of time.
            Branches may join step by step, as with Add and Concatenate. Of several inputs or outputs, the
            numbers of a step lie one after another in x and in y.
        path: of the file; an older one is replaced when the new one is complete and on the disk.
        name: before which all names in the file begin: a letter, then letters, digits and single underscores.

    Raises:
        ValueError: naming the layer, and its option, that cannot be in the file; for a name that C does not
            take.

    >>> import os, tempfile, tdfast
    >>> model = tdfast.Sequential([tdfast.layers.LSTM(4, input_shape=(None, 3)), tdfast.layers.Dense(2)])
    >>> path = os.path.join(tempfile.mkdtemp(), "model.c")
    >>> export_c(model, path)
    >>> "void model_step(model_state *s, const float *x, float *y)" in open(path).read()
    True
    """
    check_model(model, "export_c")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z](_?[A-Za-z0-9]+)*", name) or len(name) > 20:
        raise ValueError(
            "export_c: name must be at most 20 letters, digits and single underscores, with a letter first "
            "and no "
            f"underscore last, got {name!r}."
        )
    text = _file_of(model, name)
    with replacing(os.fspath(path)) as file:
        file.write(text.encode("ascii"))


def _file_of(model: Any, name: str) -> Any:
    source = Source(name, model.dtype)
    shapes = [(None, *layer_shape[1:]) for layer_shape in _input_shapes(model)]
    inputs = _inputs(model, shapes)
    outputs = add_graph(source, model.graph, inputs, shapes)
    if not source.stages:
        raise ValueError(f"export_c: model '{model.name}' has no layer that computes anything.")
    if len({value.timed for value in outputs}) > 1:
        raise ValueError(
            f"export_c: model '{model.name}' gives one output for each time step and another for the "
            "sequence. Export a model of each."
        )
    outputs = _own_stages(source, model, outputs)
    sequences = outputs[0].timed
    early, late = [s for s in source.stages if s.over_time], [s for s in source.stages if not s.over_time]
    steps, x, y = _self_test(model, inputs, shapes)
    crossing = [s.gives for s in early if not s.gives.timed] if late else []
    macro = name.upper()
    names = {"NAME": macro, "at_t": f" + (size_t)t * {macro}_OUTPUTS" if sequences else "",
             "last": sum(value.size for value in crossing)}
    over_time = _chain(source, "over_time", early, {}, crossing or outputs)
    at_end = _chain(source, "at_end", late, _places("x", crossing), outputs) if late else ""
    return source.fill(
        FILE, **names,
        title=plain(model.name), version=__version__,
        about=_about(model, inputs, outputs) + "".join(f" *     {stage.title}\n" for stage in source.stages),
        step_about="y is what predict gives for the step" + ("." if sequences else "s so far."),
        run_about=f"y[steps][{macro}_OUTPUTS]" if sequences else f"y[{macro}_OUTPUTS]",
        inputs=sum(value.size for value in inputs), outputs=sum(value.size for value in outputs),
        members="".join(f"{member}\n" for member in source.members),
        arrays="\n".join(source.arrays), helpers="\n".join(source.helpers.values()),
        stages="\n".join(_function(source, stage) for stage in source.stages),
        chains=over_time + at_end,
        step=source.fill(STEP_AND_END if late else STEP, **names),
        run=source.fill(RUN_AND_END if late else RUN, **names),
        tolerance=f"1e-4{source.f}" if source.f else "1e-9",
        test_steps=steps, test_rows=steps if sequences else 1,
        test_x=_indented(source.numbers(x.ravel())), test_y=_indented(source.numbers(y.ravel())),
    )


def _input_shapes(model: Any) -> list[Any]:
    return [model.input_shape] if len(model.graph.inputs) == 1 else list(model.input_shape)


def _inputs(model: Any, shapes: Any) -> list[Value]:
    """The `Value` of each input: they lie one after another in x."""
    out, offset = [], 0
    for shape in shapes:
        if len(shape) not in (2, 3):
            raise ValueError(
                f"export_c: model '{model.name}' takes inputs of shape {shape}, but C code takes a vector of "
                "numbers at each time step: (batch, time, features)."
            )
        out.append(Value(shape[2] if len(shape) == 3 else 1, offset=offset, ids=len(shape) == 2))
        offset += out[-1].size
    return out


def _own_stages(source: Any, model: Any, outputs: Any) -> list[Value]:
    """The outputs, each of a stage of its own, which the last part of the program has."""
    late = any(not stage.over_time for stage in source.stages)
    out: list[Value] = []
    for value, node in zip(outputs, model.graph.outputs):
        of_early = late and any(stage.gives is value and stage.over_time for stage in source.stages)
        if value.offset is not None or of_early or any(value is other for other in out):
            value = copied(source, node.node.layer if node.node else model, value)
        out.append(value)
    return out


def _about(model: Any, inputs: Any, outputs: Any) -> str:
    """What lies where in x and y, if there are several inputs or outputs."""
    lines = []
    for x, names, values in (("x", "input_names", inputs), ("y", "head_names", outputs)):
        if len(values) > 1:
            sizes = zip(getattr(model, names), values)
            parts = ", ".join(f"{plain(name)} ({value.size})" for name, value in sizes)
            lines.append(f" *     {x}: {parts}, one after another\n")
    return "".join(lines)


def _indented(text: str) -> Any:
    return "\n".join("    " + line for line in text.splitlines())


def _function(source: Any, stage: Any) -> str:
    state, real = f"{source.name}_state *s, " if stage.stateful else "", source.real
    xs = ", ".join(f"const {real} *{x}" for x in names_of(stage.reads))
    return f"/* {stage.title} */\nstatic void {stage.symbol}({state}{xs}, {real} *y)\n{{\n{stage.body}}}\n"


def _places(name: str, values: Any) -> dict[Value, str]:
    """Where values lie that are in one array, one after another."""
    places, at = {}, 0
    for value in values:
        places[value] = f"{name} + {at}" if at else name
        at += value.size
    return places


def _chain(source: Any, what: str, stages: Any, places: dict[Value, str], outputs: Any) -> Any:
    """The function that calls stages one after the other, each with memory for what it gives.

    Args:
        places: of the values that come in, besides those of the model's inputs.
        outputs: the values that go to y, one after another.
    """
    counts = what == "over_time"
    state, places = f"{source.name}_state *s, " if counts else "", {**places, **_places("y", outputs)}
    memory, calls = [], []
    for i, stage in enumerate(stages, 1):
        if stage.gives not in places:
            places[stage.gives] = f"v{i}"
            memory.append(f"    {source.real} v{i}[{stage.gives.size}];")
        reads = [places[value] if value in places else _of_input(value) for value in stage.reads]
        arguments = ", ".join(["s"] * stage.stateful + reads + [places[stage.gives]])
        calls.append(f"    {stage.symbol}({arguments});")
    lines = memory + [""] * bool(memory) + calls + ["    s->steps++;"] * counts
    return (f"static void {source.name}_{what}({state}const {source.real} *x, {source.real} *y)\n{{\n"
            + "\n".join(lines) + "\n}\n\n")


def _of_input(value: Value) -> str:
    return f"x + {value.offset}" if value.offset else "x"


def _self_test(model: Any, inputs: Any, shapes: Any) -> tuple[Any, ...]:
    """(steps, inputs, outputs) of a short random sequence."""
    known = [shape[1] for shape in shapes if shape[1]]
    steps, rng = min([*known, SELF_TEST_STEPS]), np.random.default_rng(0)
    xs: list[Any] = []
    for value in inputs:
        if value.ids:
            xs.append(rng.integers(0, value.rows or 1, (1, steps)))
        else:
            xs.append(rng.normal(size=(1, steps, value.size)).astype(model.dtype))
    with contextlib.ExitStack() as undo:
        for layer in _inner(model):
            if getattr(layer, "stateful", False):
                undo.enter_context(changed(layer, stateful=False, states=None))
        ys = model.forward(model.as_input(xs[0] if len(xs) == 1 else xs), Tape(keep=False))
        ys = [np.array(y) for y in (ys if isinstance(ys, list) else [ys])]
    if any(np.isnan(y).any() for y in ys):
        raise ValueError(
            f"export_c: model '{model.name}' gives NaN for random numbers, so no self-test can be made."
        )
    x = np.concatenate([x.reshape(1, steps, -1) for x in xs], axis=-1)
    return steps, x, np.concatenate(ys, axis=-1)


def _inner(layer: Any) -> Iterator[Any]:
    """A layer and all layers inside it."""
    yield layer
    for inner in layer.sublayers():
        yield from _inner(inner)
