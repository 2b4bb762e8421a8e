"""C files: they compile without a warning, and give what predict gives, over layers, options and random
models."""

import ctypes
import random
import shutil
import subprocess

import numpy as np
import pytest
import random_models
from random_models import ELEMENTWISE, ROWS, close, inputs, model_of

import tdfast
from tdfast import saving
from tdfast.engine.network import Network
from tdfast.layers import (
    GRU,
    LSTM,
    Activation,
    BatchNormalization,
    Bidirectional,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Input,
    LayerNormalization,
    Masking,
    Normalization,
    PReLU,
    RepeatVector,
    Rescaling,
    SimpleRNN,
    Softmax,
    SpatialDropout2D,
    SpatialDropout3D,
    TimeDistributed,
)
from tdfast.saving.c.source import STAGES

COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
FLAGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"]
SERIES = (None, 4)

needs_compiler = pytest.mark.skipif(not COMPILERS, reason="no C compiler")


class Compiled:
    """An exported model, compiled and loaded."""

    def __init__(self, model, folder, name="model", compiler=None, flags=()):
        self.load(model, folder, name, compiler, flags)
        self.outputs = model.compute_output_shape((1, 1, *model.input_shape[2:]))[-1]

    def load(self, model, folder, name="model", compiler=None, flags=()):
        """Compile the file of a model; ``outputs`` is for the caller to say."""
        source, library = folder / "model.c", folder / f"{len(list(folder.iterdir()))}.so"
        saving.export_c(model, source, name=name)
        subprocess.run([compiler or COMPILERS[0], *FLAGS, *flags, "-shared", "-fPIC", source, "-o", library,
                        "-lm"], check=True)
        self.library = ctypes.CDLL(str(library))
        self.name, self.dtype = name, model.dtype

    def call(self, what, *arguments):
        """One of the file's functions."""
        pointers = [ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else a for a in arguments]
        return getattr(self.library, f"{self.name}_{what}")(*pointers)

    def run(self, x, sequences):
        """The outputs of one sequence, (time, outputs) or (outputs,)."""
        y = np.full((len(x), self.outputs) if sequences else (self.outputs,), np.nan, self.dtype)
        self.call("run", x, len(x), y)
        return y

    def steps(self, x):
        """The output after each time step, (time, outputs)."""
        state = ctypes.create_string_buffer(1 << 16)
        y = np.full((len(x), self.outputs), np.nan, self.dtype)
        self.call("init", state)
        for xt, yt in zip(x.reshape(len(x), -1), y):
            self.call("step", state, xt, yt)
        return y


def check(model, folder, x=None, bound=1e-5, **options):
    """Compile, run the self-test, and compare whole sequences, and sequences step by step, with predict."""
    c = Compiled(model, folder, **options)
    assert c.call("selftest") == 0
    x = inputs(model.input_shape[1:], 2, 6, dtype=model.dtype) if x is None else x
    for row in x:
        want = model.predict(row[None], verbose=0)[0]
        given = np.ascontiguousarray(row, model.dtype)
        close(c.run(given, want.ndim == 2), want, bound)
        if want.ndim == 2:
            close(c.steps(given), want, bound)
        elif model.input_shape[1] is None:
            close(c.steps(given),
                  [model.predict(row[None, :t], verbose=0)[0] for t in range(1, len(row) + 1)], bound)
    return c


def seq(**more):
    return {"return_sequences": True, **more}


MODELS = {
    "blog": ([LSTM(32, **seq()), TimeDistributed(Dense(8))], (None, 15)),
    **{f"{cell.__name__} {name}": ([cell(5, **options)], SERIES) for cell in (LSTM, GRU, SimpleRNN)
       for name, options in (("last", {}), ("sequences", seq()),
                             ("bare", seq(use_bias=False, activation="linear")),
                             ("odd", {"activation": "softmax"}), ("relu", {"activation": "relu"}))},
    "GRU reset before": ([GRU(5, reset_after=False, **seq()), GRU(3, reset_after=False, use_bias=False)],
                         SERIES),
    "gates": ([LSTM(3, recurrent_activation="softmax", **seq()), GRU(1, recurrent_activation="hard_sigmoid")],
              SERIES),
    "stack with a head": ([LSTM(5, **seq()), Dropout(0.5), GRU(4), Dense(3, activation="relu"), Dense(2)],
                          SERIES),
    "Dense alone": ([Dense(3, use_bias=False), TimeDistributed(Activation("softmax"))], SERIES),
    "nested": ([tdfast.Sequential([SimpleRNN(3, **seq(), name="a b")]), TimeDistributed(tdfast.Sequential([
        Dense(3, activation="gelu"), Dropout(0.1), LayerNormalization(axis=1)]))], SERIES),
    "normalization": ([BatchNormalization(), LayerNormalization(), LSTM(3),
                       BatchNormalization(scale=False, center=False),
                       LayerNormalization(scale=False, center=False)], SERIES),
    "GlobalMaxPooling1D": ([Dense(3), GlobalMaxPooling1D()], SERIES),
    "GlobalAveragePooling1D": ([GRU(3, **seq()), GlobalAveragePooling1D(),
                                Dense(2, activation="log_softmax")], SERIES),
    "fixed length": ([LSTM(1)], (6, 4)),
    "without effect": ([*random_models.without_effect(), Dense(3)], SERIES),
    "with parameters": ([*random_models.parametric(), LSTM(3), *random_models.parametric()], SERIES),
    "PReLU": ([PReLU(shared_axes=[1]), TimeDistributed(PReLU()), GRU(3), PReLU()], SERIES),
    "Softmax": ([Softmax(), TimeDistributed(Softmax(axis=1)), GRU(3), Softmax()], SERIES),
    "Rescaling": ([Rescaling([1.0, 2.0, 3.0, 4.0], -1.0), TimeDistributed(Rescaling(2.0)), GRU(3),
                   Rescaling(0.5)], SERIES),
    "Normalization": ([Normalization(), Normalization(axis=None, mean=0.5, variance=2.0, invert=True),
                       GRU(3)], SERIES),
}


@needs_compiler
@pytest.mark.parametrize("layers,shape", MODELS.values(), ids=MODELS)
def test_equals_predict(layers, shape, tmp_path):
    check(model_of(layers, shape), tmp_path)


@needs_compiler
def test_the_tables_here_have_every_stage(tmp_path):
    found = random_models.classes_in(MODELS) | {Embedding}
    # which take no sequences of vectors
    assert found >= set(STAGES) - {Network, SpatialDropout2D, SpatialDropout3D}


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations(dtype, tmp_path):
    """All in one file: each on its own share of the features."""
    bound = 1e-5 if dtype == "float32" else 1e-12
    x = np.concatenate([inputs((9,), 20, dtype=dtype) * 3,
                        np.linspace(-6, 6, 45, dtype=dtype).reshape(5, 9)])[None]
    for name in ELEMENTWISE + ROWS:
        model = model_of([Activation(name, dtype=dtype), Dense(9, use_bias=False, dtype=dtype)], (None, 9),
                         dtype=dtype)
        model.set_weights([np.eye(9)])
        check(model, tmp_path, x, bound)


@needs_compiler
def test_float64(tmp_path):
    layers = [LSTM(5, dtype="float64", **seq()), GRU(4, dtype="float64"), LayerNormalization(dtype="float64"),
              Dense(2, activation="softmax", dtype="float64")]
    check(model_of(layers, SERIES, dtype="float64"), tmp_path, bound=1e-12)


@needs_compiler
def test_embedding(tmp_path):
    model = model_of([Embedding(7, 3), GRU(4, **seq()), Dense(2)], (None,))
    c = check(model, tmp_path, np.random.default_rng(0).integers(0, 7, (2, 6)))
    for bad in (-1, 7, np.nan, 1e30):
        assert np.isnan(c.run(np.array([bad], "float32"), True)).all()


@needs_compiler
def test_any_length_and_many_steps(tmp_path):
    model = model_of([LSTM(8, **seq()), GRU(5), Dense(1)], SERIES)
    c = Compiled(model, tmp_path)
    for steps in (1, 2, 300):
        x = inputs(SERIES, 1, steps)
        close(c.run(x[0], False), model.predict(x, verbose=0)[0])


@needs_compiler
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("seed", range(16))
def test_random_models(seed, compiler, tmp_path):
    draw = random.Random(seed)
    layers = random_models.streaming_stack(lambda values: draw.choice(list(values)))
    model = model_of(layers, (None, draw.randint(1, 7)), seed)
    check(model, tmp_path, inputs(model.input_shape[1:], 2, draw.randint(1, 9), seed), compiler=compiler)


@needs_compiler
@pytest.mark.parametrize("compiler", COMPILERS)
def test_main_runs_the_selftest_which_can_fail(compiler, tmp_path):
    source, program = tmp_path / "m.c", tmp_path / "m"
    saving.export_c(model_of([LSTM(3, **seq()), Dense(2)], SERIES), source, name="Net_2")

    def run():
        subprocess.run([compiler, *FLAGS, "-DNET_2_MAIN", source, "-o", program, "-lm"], check=True)
        return subprocess.run([program], capture_output=True, text=True)

    assert run().returncode == 0 and "Net_2: the self-test passed" in run().stdout
    text = source.read_text()
    wrong = text.replace("+ z[j] * z[2 * 3 + j]", "- z[j] * z[2 * 3 + j]")
    assert wrong != text
    source.write_text(wrong)
    assert run().returncode == 1 and "FAILED" in run().stdout


@needs_compiler
def test_two_models_in_one_program(tmp_path):
    for name in ("one", "two"):
        saving.export_c(model_of([GRU(3)], SERIES, seed=len(name)), tmp_path / f"{name}.c", name=name)
    main = tmp_path / "main.c"
    main.write_text(
        '#include "one.c"\n#include "two.c"\nint main(void) { return one_selftest() + two_selftest(); }\n'
    )
    subprocess.run([COMPILERS[0], *FLAGS, main, "-o", tmp_path / "main", "-lm"], check=True)
    assert subprocess.run([tmp_path / "main"]).returncode == 0


@needs_compiler
def test_memory_stays_in_bounds(tmp_path):
    source, program = tmp_path / "m.c", tmp_path / "m"
    layers = [Dense(3), LSTM(5, **seq()), LayerNormalization(), GRU(4, reset_after=False, **seq()),
              SimpleRNN(3, **seq()),
              GlobalAveragePooling1D(), Dense(7, activation="sparsemax"), Activation("softmax")]
    saving.export_c(model_of(layers, SERIES), source)
    flags = [*FLAGS, "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DMODEL_MAIN"]
    if subprocess.run([COMPILERS[0], *flags, source, "-o", program, "-lm"], capture_output=True).returncode:
        pytest.skip("the compiler has no sanitizers")
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_file_needs_the_mathematics_alone(tmp_path):
    path = tmp_path / "m.c"
    saving.export_c(model_of([LSTM(3), Dense(2, name="a */ b")], SERIES), path)
    text = path.read_text(encoding="ascii")
    assert [line for line in text.splitlines() if "#include" in line] == [
        "#include <math.h>", "#include <stddef.h>", "#include <stdio.h>"]
    assert text.index("#include <stdio.h>") > text.index("#ifdef MODEL_MAIN")
    assert "malloc" not in text and "a */ b" not in text and "a____b" in text
    other = tmp_path / "n.c"
    saving.export_c(model_of([LSTM(3), Dense(2, name="a */ b")], SERIES), other)
    assert other.read_text().count("\n") == text.count("\n")


@needs_compiler
def test_an_export_leaves_the_states_of_the_model(tmp_path):
    model = model_of([LSTM(3, stateful=True)], SERIES)
    x = inputs(SERIES, 2)
    model.predict(x, batch_size=2, verbose=0)
    before = [s.copy() for s in model.layers[0].states]
    assert Compiled(model, tmp_path).call("selftest") == 0
    assert all(np.array_equal(a, b) for a,
               b in zip(before, model.layers[0].states)) and model.layers[0].stateful


# ---------------------------------------------------------------- refusals
@pytest.mark.parametrize("layers,shape,error", [
    ([Bidirectional(LSTM(3), name="odd")], SERIES,
     "'odd' .Bidirectional. cannot be exported to C. These can: .*LSTM"),
    ([LSTM(3, go_backwards=True, name="odd")], SERIES, "'odd'.*go_backwards=True"),
    ([LSTM(3, return_state=True, name="odd")], SERIES, "'odd'.*return_state=True"),
    ([Masking(name="odd"), LSTM(3)], SERIES, "'odd' .Masking."),
    ([Embedding(4, 3, mask_zero=True, name="odd"), LSTM(3)], (None,), "'odd'.*mask_zero"),
    ([Dense(3), Embedding(4, 3, name="odd")], (4,), "dense.*no time axis"),
    ([LSTM(3), RepeatVector(2, name="odd"), LSTM(3)], SERIES, "'odd' .RepeatVector."),
    ([Conv1D(3, 2, name="odd")], SERIES, "'odd' .Conv1D."),
    ([tdfast.layers.DepthwiseConv1D(2, name="odd")], SERIES,
     "'odd' .DepthwiseConv1D. cannot be exported to C"),
    ([tdfast.layers.Conv1DTranspose(3, 2, name="odd")], SERIES, "'odd' .Conv1DTranspose."),
    ([tdfast.layers.UpSampling1D(2, name="odd"), LSTM(3)], SERIES, "'odd' .UpSampling1D."),
    ([LayerNormalization(axis=[1, 2], name="odd")], (5, 4), "'odd'.*axis"),
    ([BatchNormalization(axis=1, name="odd")], (5, 4), "'odd'.*axis=1"),
    ([GlobalMaxPooling1D(keepdims=True, name="odd")], SERIES, "'odd'.*keepdims"),
    ([LSTM(3), Embedding(4, 3, name="odd")], SERIES, "'odd'.*first layer"),
    ([TimeDistributed(Embedding(4, 3, name="odd"))], SERIES, "'odd'.*first layer"),
    ([Dense(3)], (4,), "no time axis"),
    ([Softmax(axis=1, name="odd")], SERIES, "'odd'.*axis=1"),
    ([PReLU(name="odd")], (5, 4), "'odd'.*differ from one time step"),
    ([Activation(tdfast.activations.Function(np.sin, np.cos), name="odd")], SERIES, "'odd'.*activation sin"),
    ([Dense(3)], (5, 6, 4), "vector of numbers"),
    ([Dropout(0.5)], SERIES, "nothing|computes anything"),
    ([LSTM(3), Dense(3, dtype="float64", name="odd")], SERIES, "'odd'.*float64"),
])
def test_refusals_name_the_layer(layers, shape, error, tmp_path):
    with pytest.raises(ValueError, match=error):
        saving.export_c(model_of(layers, shape), tmp_path / "m.c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "2a", "a-b", "_a", "a__b", "a_", "ä", "a" * 21, None, "a;b", "a\n"])
def test_names_that_c_does_not_take(name, tmp_path):
    with pytest.raises(ValueError, match="name must be"):
        saving.export_c(model_of([LSTM(3)], SERIES), tmp_path / "m.c", name=name)


def test_numbers_that_are_none_are_refused(tmp_path):
    model = model_of([Dense(3, name="odd")], SERIES)
    model.set_weights([np.full((4, 3), np.nan), np.zeros(3)])
    with pytest.raises(ValueError, match="'odd'.*kernel.*not finite"):
        saving.export_c(model, tmp_path / "m.c")
    with pytest.raises(ValueError, match="no weights yet"):
        saving.export_c(tdfast.Sequential([Dense(3)]), tmp_path / "m.c")


def test_a_failed_export_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.c"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        saving.export_c(model_of([LSTM(2)], SERIES), path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_numbers_are_exact():
    from tdfast.saving.c.source import Source

    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        source = Source("m", dtype)
        values = np.concatenate([rng.normal(size=200), [0, 1e-45, -1e-40, 16, 1e38, 2.0**-126, 100,
                                                        256]]).astype(dtype)
        back = [float.fromhex(source.number(v).removesuffix("f")) for v in values]
        assert np.array_equal(np.array(back, dtype), values)


def test_an_input_layer_changes_nothing(tmp_path):
    one = tdfast.Sequential([Input(SERIES), LSTM(3, name="lstm")], name="same")
    other = tdfast.Sequential([LSTM(3, name="lstm", input_shape=SERIES)], name="same")
    other.set_weights(one.get_weights())
    texts = []
    for model in (one, other):
        saving.export_c(model, tmp_path / "m.c")
        texts.append((tmp_path / "m.c").read_text())
    assert texts[0] == texts[1]


def test_only_the_librarys_own_activations_are_known(tmp_path):
    """One of the same name may compute something else."""
    with pytest.raises(ValueError, match="'odd'.*activation tanh"):
        saving.export_c(model_of([random_models.with_own_tanh("odd")], SERIES), tmp_path / "m")
