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
from tdfast.saving.c.source import Source, add_layer, check_chain, plain
from tdfast.saving.exporting import changed, check_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tdfast.engine.types import Sizes

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
        model: a built chain of layers on sequences, a `Sequential` or another, of recurrent, Dense,
            TimeDistributed, Activation, Dropout and normalizing layers, with an Embedding at the start or a
            global pooling at the end of time.
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
    check_chain(model)
    shape = (None, *model.input_shape[1:])
    if len(shape) not in (2, 3):
        raise ValueError(
            f"export_c: model '{model.name}' takes inputs of shape {shape}, but C code takes a vector of "
            "numbers at each time step: (batch, time, features)."
        )
    source = Source(name, model.dtype, shape)
    add_layer(source, model, shape)
    stages, sequences = source.stages, source.over_time
    if not stages:
        raise ValueError(f"export_c: model '{model.name}' has no layer that computes anything.")
    early, late = [s for s in stages if s.over_time], [s for s in stages if not s.over_time]
    steps, x, y = _self_test(model, shape, stages[0])
    macro = name.upper()
    names = {"NAME": macro, "at_t": f" + (size_t)t * {macro}_OUTPUTS" if sequences else "",
             "last": early[-1].outputs}
    return source.fill(
        FILE, **names,
        title=plain(model.name), version=__version__,
        about="".join(f" *     {stage.title}\n" for stage in stages),
        step_about="y is what predict gives for the step" + ("." if sequences else "s so far."),
        run_about=f"y[steps][{macro}_OUTPUTS]" if sequences else f"y[{macro}_OUTPUTS]",
        inputs=stages[0].inputs, outputs=stages[-1].outputs,
        members="".join(f"{member}\n" for member in source.members),
        arrays="\n".join(source.arrays), helpers="\n".join(source.helpers.values()),
        stages="\n".join(_function(source, stage) for stage in stages),
        chains=_chain(source, "over_time", early, True) + (_chain(source, "at_end", late, False) if late
                                                           else ""),
        step=source.fill(STEP_AND_END if late else STEP, **names),
        run=source.fill(RUN_AND_END if late else RUN, **names),
        tolerance=f"1e-4{source.f}" if source.f else "1e-9",
        test_steps=steps, test_rows=steps if sequences else 1,
        test_x=_indented(source.numbers(x.ravel())), test_y=_indented(source.numbers(y.ravel())),
    )


def _indented(text: str) -> Any:
    return "\n".join("    " + line for line in text.splitlines())


def _function(source: Any, stage: Any) -> str:
    state = f"{source.name}_state *s, " if stage.stateful else ""
    return (
        f"/* {stage.title} */\nstatic void {stage.symbol}({state}const {source.real} *x, {source.real} *y)\n"
        f"{{\n{stage.body}}}\n"
    )


def _chain(source: Any, what: str, stages: Any, counts: Any) -> Any:
    """The function that calls stages one after the other, each with memory for its output."""
    state = f"{source.name}_state *s, " if counts else ""
    lines = [f"    {source.real} v{i}[{stage.outputs}];" for i, stage in enumerate(stages[:-1], 1)]
    lines += [""] if lines else []
    x = "x"
    for i, stage in enumerate(stages, 1):
        y = f"v{i}" if i < len(stages) else "y"
        lines.append(f"    {stage.symbol}({'s, ' if stage.stateful else ''}{x}, {y});")
        x = y
    if counts:
        lines.append("    s->steps++;")
    return (f"static void {source.name}_{what}({state}const {source.real} *x, {source.real} *y)\n{{\n"
            + "\n".join(lines) + "\n}\n\n")


def _self_test(model: Any, shape: Sizes, first: Any) -> tuple[Any, ...]:
    """(steps, inputs, outputs) of a short random sequence."""
    steps, rng = min(shape[1] or SELF_TEST_STEPS, SELF_TEST_STEPS), np.random.default_rng(0)
    if len(shape) == 2:
        x = rng.integers(0, first.ids, (1, steps))
    else:
        x = rng.normal(size=(1, steps, first.inputs)).astype(model.dtype)
    with contextlib.ExitStack() as undo:
        for layer in _inner(model):
            if getattr(layer, "stateful", False):
                undo.enter_context(changed(layer, stateful=False, states=None))
        y = np.array(model.forward(model.as_input(x), Tape(keep=False)))
    if np.isnan(y).any():
        raise ValueError(
            f"export_c: model '{model.name}' gives NaN for random numbers, so no self-test can be made."
        )
    return steps, x, y


def _inner(layer: Any) -> Iterator[Any]:
    """A layer and all layers inside it."""
    yield layer
    for inner in layer.sublayers():
        yield from _inner(inner)
