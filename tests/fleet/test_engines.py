"""Engines of fleets: the same bits from workers of joblib and from groups of processes as from threads."""

import os
import shutil
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import tdfast
from tdfast import fleet
from tdfast.distribution import in_process
from tdfast.fleet import engines
from tdfast.layers import GRU, LSTM, Dense, Dropout, Input

joblib = pytest.importorskip("joblib")

RNG = np.random.default_rng(0)


def series(rows, T=6):
    x = RNG.normal(size=(rows, T, 2)).astype("float32")
    return x, x.sum((1, 2)).reshape(-1, 1)


DATA = {f"shop{i}": series(20 + 3 * i, 5 + i % 3) for i in range(11)}


def network(*inner, optimizer="adam", loss="mse", **options):
    model = tdfast.Sequential([Input((None, 2)), *(inner or [LSTM(4)]), Dense(1)])
    model.compile(optimizer, loss, **options)
    return model


class Group:
    """A rank of a group whose processes are threads."""

    def __init__(self, rank, size, common):
        self.rank, self.size, self._common = rank, size, common

    def allgather_object(self, obj):
        slots, barrier = self._common
        slots[self.rank] = obj
        barrier.wait(60)
        out = list(slots)
        barrier.wait(60)
        return out


def on_ranks(size, call):
    """What ``call(group)`` gave or raised, by rank."""
    common, out = ([None] * size, threading.Barrier(size)), [None] * size

    def run(rank):
        try:
            out[rank] = call(Group(rank, size, common))
        except BaseException as error:
            out[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out


def same(found, expected):
    assert list(found) == list(expected) and found.seed == expected.seed
    assert found.weights.tobytes() == expected.weights.tobytes()
    assert found.failed == expected.failed
    assert repr([found.history_of(key) for key in found]) == repr([expected.history_of(key)
                                                                   for key in expected])


def first_of_two(given):
    return given[0]


CASES = {
    "plain": (network, DATA, {}),
    "a share for validation, early stopping": (
        lambda: network(optimizer=tdfast.optimizers.Adam(0.1), metrics=["mae"]), DATA,
        {"validation": 0.3, "early_stopping": 0, "epochs": 6}),
    "validation of each key": (network, DATA, {"validation": dict(reversed(DATA.items()))}),
    "lengths": (network, DATA, {"lengths": {key: np.arange(len(x)) % 5 + 1 for key, (x, y) in DATA.items()}}),
    "dropout": (lambda: network(GRU(4, dropout=0.2), Dropout(0.3)), DATA, {"initialize": True}),
    "prepare": (network, {key: (given, 0) for key, given in DATA.items()}, {"prepare": first_of_two}),
    "nothing": (network, {}, {}),
    "one": (network, {"a": DATA["shop3"]}, {"shuffle": False}),
}


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing", "sequential"])
@pytest.mark.parametrize("case", CASES)
def test_workers_of_joblib_give_the_same_bits(case, backend):
    make, data, options = CASES[case]
    model, options = make(), {"epochs": 3, "batch_size": 16, "seed": 5, **options}
    expected = fleet.fit(model, data, threads=1, **options)
    with joblib.parallel_config(backend, n_jobs=2):
        same(fleet.fit(model, data, engine="joblib", **options), expected)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_ranks_give_the_same_bits(case, size):
    make, data, options = CASES[case]
    model, options = make(), {"epochs": 3, "batch_size": 16, "seed": 5, **options}
    expected = fleet.fit(model, data, threads=1, **options)
    for found in on_ranks(size, lambda group: fleet.fit(model, data, engine=group, **options)):
        same(found, expected)


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_any_number_of_workers_and_any_order(n_jobs):
    model = network()
    expected = fleet.fit(model, DATA, seed=5)
    with joblib.parallel_config("loky", n_jobs=n_jobs):
        found = fleet.fit(model, dict(reversed(DATA.items())), seed=5, engine="joblib")
    assert list(found) == list(DATA)[::-1] and (found.weights[::-1] == expected.weights).all()


def test_dask_gives_the_same_bits():
    distributed = pytest.importorskip("distributed")
    model = network()
    expected = fleet.fit(model, DATA, epochs=2, seed=5)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None,
                                  silence_logs=50) as cluster, distributed.Client(cluster):
        with joblib.parallel_config("dask"):
            same(fleet.fit(model, DATA, epochs=2, seed=5, engine="joblib"), expected)
            with pytest.raises(RuntimeError, match="cannot be sent.*cannot pickle 'generator' object"):
                fleet.fit(model, {**DATA, "z": (x for x in "ab")}, engine="joblib")


def test_without_a_config_all_processors_work():
    model = network()
    same(fleet.fit(model, DATA, seed=5, engine="joblib"), fleet.fit(model, DATA, seed=5))
    assert engines.Joblib("fleet.fit")._jobs == joblib.cpu_count()


def test_arrays_that_joblib_shares_as_files():
    model = network()
    with joblib.parallel_config("loky", n_jobs=2, max_nbytes=1):
        found = fleet.fit(model, DATA, epochs=2, seed=5, engine="joblib")
    same(found, fleet.fit(model, DATA, epochs=2, seed=5))


def test_processes_compute_as_this_one_does():
    model, before = network(), tdfast.config.float32_matmul_precision()
    plain = fleet.fit(model, DATA, epochs=2, seed=5)
    try:
        tdfast.config.set_float32_matmul_precision("medium")
        expected = fleet.fit(model, DATA, epochs=2, seed=5)
        with joblib.parallel_config("loky", n_jobs=2):
            same(fleet.fit(model, DATA, epochs=2, seed=5, engine="joblib"), expected)
            tdfast.config.set_float32_matmul_precision(before)
            same(fleet.fit(model, DATA, epochs=2, seed=5, engine="joblib"), plain)
    finally:
        tdfast.config.set_float32_matmul_precision(before)
    assert before != "highest" or (plain.weights != expected.weights).any()


def counts(given):
    raise ValueError(f"threads: {tdfast.get_num_threads()}")


def told(data, **options):
    """What `counts` says of each key, as the reason of its failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fleet.fit(network(), data, seed=1, engine="joblib", prepare=counts, **options).failed.values()


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_workers_share_the_processors(backend, monkeypatch):
    """Each model on one thread, and as many models at a time as a worker has processors."""
    asked, init = [], fleet.fitting.Crew.__init__

    def noted(self, model, threads, tasks):
        asked.append(threads)
        init(self, model, threads, tasks)

    monkeypatch.setattr(fleet.fitting.Crew, "__init__", noted)
    with joblib.parallel_config(backend, n_jobs=2), tdfast.runtime.threads(5):
        assert all(text.endswith("threads: 1") for text in told(DATA))
        told(DATA, threads=3)
    assert set(asked) == ({2, 3} if backend == "threading" else set())


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_predictions_and_measures(backend):
    model = network(metrics=["mae"])
    trained = fleet.fit(model, DATA, seed=5)
    x = {key: x for key, (x, y) in DATA.items()}
    lengths = {key: np.full(len(x), 3) for key, (x, y) in DATA.items()}
    made, measured = trained.predict(x, lengths=lengths), trained.evaluate(DATA, batch_size=8)

    def check(**options):
        found = trained.predict(x, lengths=lengths, **options)
        assert list(found) == list(made) and all((found[key] == made[key]).all() for key in made)
        assert trained.evaluate(DATA, batch_size=8, **options) == measured
        assert trained.predict({}, **options) == {}

    with joblib.parallel_config(backend, n_jobs=2):
        check(engine="joblib")
        with pytest.raises(ValueError, match="fleet.predict, key 'shop2': "):
            trained.predict({**x, "shop2": x["shop2"][..., :1]}, engine="joblib")
        with pytest.raises(KeyError, match="no model of the fleet has the key 'z'"):
            trained.predict({"z": x["shop2"]}, engine="joblib")
    assert on_ranks(2, lambda group: check(engine=group)) == [None, None]


# ---------------------------------------------------------------- what fails


def spoiled():
    x, y = DATA["shop4"]
    return {**DATA, "shop4": (x, y[1:]), "nan": (np.full_like(x, np.nan), y)}


@pytest.mark.parametrize("engine", ["loky", "threading", 2])
def test_keys_that_fail_come_back_with_why(engine):
    model, data = network(), spoiled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = fleet.fit(model, data, epochs=2, seed=5)
    assert set(expected.failed) == {"shop4", "nan"}
    with pytest.warns(UserWarning, match="2 of 12 keys failed.*the first is '(shop4|nan)'") as told:
        if engine == 2:
            found = on_ranks(2, lambda group: fleet.fit(model, data, epochs=2, seed=5, engine=group))
        else:
            with joblib.parallel_config(engine, n_jobs=2):
                found = [fleet.fit(model, data, epochs=2, seed=5, engine="joblib")]
    for one in found:
        same(one, expected)
    assert len([w for w in told if "keys failed" in str(w.message)]) == 1


class Odd(Exception):
    """Not to be made from its text alone."""

    def __init__(self, text, number):
        super().__init__(text)


def odd(given):
    if isinstance(given, str):
        raise Odd("no such file", 1)
    return given


@pytest.mark.parametrize("engine", ["loky", "threading", 2])
def test_an_error_can_end_it_all(engine):
    model, data = network(), {**DATA, "z": "a.csv"}
    options = {"epochs": 2, "seed": 5, "on_error": "raise", "prepare": odd}
    expected = fleet.fit(model, DATA, epochs=2, seed=5)
    if engine == 2:
        errors = on_ranks(2, lambda group: fleet.fit(model, data, engine=group, **options))
    else:
        with joblib.parallel_config(engine, n_jobs=2), pytest.raises(RuntimeError) as caught:
            fleet.fit(model, data, engine="joblib", **options)
        errors = [caught.value]
    for error in errors:
        assert "fleet.fit, key 'z': no such file (Odd)" in str(error)
        for key in error.fleet:
            assert (error.fleet[key].get_weights()[0] == expected[key].get_weights()[0]).all()
        assert engine != 2 or len(error.fleet) > 4


def test_fits_in_threads_end_with_the_call():
    """Nobody waits for those that go on in threads of joblib after an error."""
    begun = threading.Event()

    def prepare(given):
        if isinstance(given, str):
            begun.wait(60)
            raise ValueError("enough")
        begun.set()
        return given

    data = {"long": DATA["shop1"], "short": "x"}
    with joblib.parallel_config("threading", n_jobs=2), pytest.raises(ValueError, match="enough"):
        fleet.fit(network(), data, epochs=10**6, seed=1, engine="joblib", prepare=prepare, on_error="raise",
                  threads=1)
    for thread in threading.enumerate():
        if thread.name.startswith("fleet-"):
            thread.join(30)
            assert not thread.is_alive()


def dies(given):
    if isinstance(given, str):
        os._exit(3)
    return given


def test_a_worker_that_dies_loses_its_part_alone():
    keys = [*range(7), "z", *range(7, 200)]
    data = {key: "die" if key == "z" else DATA["shop1"] for key in keys}
    with joblib.parallel_config("loky", n_jobs=2):
        with pytest.raises(RuntimeError, match="a worker of joblib .LokyBackend. ended before its") as caught:
            fleet.fit(network(), data, seed=5, engine="joblib", prepare=dies)
        done = caught.value.fleet
        assert 0 < len(done) < 200 and "z" not in done
        rest = {key: given for key, given in data.items() if key not in done and key != "z"}
        more = fleet.fit(network(), rest, seed=5, engine="joblib")
    assert len(more) + len(done) == 200


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_what_cannot_be_sent(backend):
    with joblib.parallel_config(backend, n_jobs=2), pytest.raises(
            RuntimeError, match="cannot be sent to the workers of joblib.*cannot pickle 'generator' object"):
        fleet.fit(network(), {**DATA, "z": (x for x in "ab")}, engine="joblib")


SCRIPT = """
import joblib, numpy as np, tdfast
from tdfast.layers import Input, LSTM, Dense, Lambda

def loss(y, p):
    return tdfast.ops.square(y - p)

class Twice(tdfast.layers.Layer):
    def call(self, x):
        return 2 * x

model = tdfast.Sequential([Input((5, 1)), LSTM(3), Twice(), Lambda(lambda x: x + 1), Dense(1)])
model.compile("adam", loss, metrics=[lambda y, p: tdfast.ops.abs(y - p)])
data = {i: np.ones((8 + i, 5, 1)) for i in range(6)}
options = dict(epochs=2, seed=1, prepare=lambda x: (x, x[:, 0]))
one = tdfast.fleet.fit(model, data, **options)
for backend in ("loky", "multiprocessing"):
    with joblib.parallel_config(backend, n_jobs=2):
        two = tdfast.fleet.fit(model, data, engine="joblib", **options)
    assert (one.weights == two.weights).all() and not two.failed, two.failed
print("same")
"""


def test_functions_of_a_script(tmp_path):
    """They have no module that a worker could import."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT, encoding="utf8")
    folder = os.path.dirname(os.path.dirname(tdfast.__file__))
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": folder})
    assert done.stdout == "same\n", done.stderr


def test_joblib_that_is_absent_or_old(monkeypatch):
    monkeypatch.setattr(joblib, "__version__", "1.3.2")
    with pytest.raises(ImportError, match="needs joblib 1.4 or newer, and this is 1.3.2. Run: pip install"):
        fleet.fit(network(), DATA, engine="joblib")
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(ImportError, match="fleet.predict: engine='joblib' needs joblib. Run: pip install jo"):
        fleet.fit(network(), DATA, seed=1).predict({}, engine="joblib")


def test_guests_of_a_process_leave_it_as_it_was():
    """A worker of Dask runs several parts at a time."""
    before, other = engines._settings(), ("float64", False, "medium", tdfast.runtime.isa())
    with engines._as_there(other):
        with engines._as_there(other):
            assert engines._settings() == other
        assert engines._settings() == other
    assert engines._settings() == before


@pytest.mark.parametrize("engine", ["ray", 5, object()])
def test_what_is_no_engine(engine):
    with pytest.raises(ValueError, match="engine must be None .*, 'joblib', 'mpi', 'torch', or an object"):
        fleet.fit(network(), DATA, engine=engine)


# ---------------------------------------------------------------- ranks


def test_engines_of_tdfast_distribution():
    """Their objects go by pickle."""
    model = network(metrics=["mae"])
    options = {"epochs": 3, "seed": 5, "validation": 0.3, "early_stopping": 1}
    expected = fleet.fit(model, DATA, **options)
    for found in in_process.run(3, lambda engine: fleet.fit(model, DATA, engine=engine, **options)):
        same(found, expected)


SPREAD = """
import numpy as np, tdfast
from tdfast.layers import Input, LSTM, Dense

tdfast.utils.set_random_seed(1)
model = tdfast.Sequential([Input((5, 1)), LSTM(3), Dense(1)])
model.compile("adam", "mse")
draws = np.random.default_rng(0)
data = {i: (draws.normal(size=(8 + i, 5, 1)), draws.normal(size=8 + i)) for i in range(5)}
one = tdfast.fleet.fit(model, data, epochs=2, seed=1)
two = tdfast.fleet.fit(model, data, epochs=2, seed=1, engine="mpi", verbose=1)
assert (one.weights == two.weights).all() and list(two) == list(data)
made = two.predict({i: x for i, (x, y) in data.items()}, engine="mpi")
assert len(made) == 5 and tdfast.distribution.num_processes() == 3
"""


def test_processes_of_mpi(tmp_path):
    pytest.importorskip("mpi4py")
    places = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    mpiexec = shutil.which("mpiexec", path=places)
    if mpiexec is None:
        pytest.skip("needs an MPI")
    path = tmp_path / "spread.py"
    path.write_text(SPREAD, encoding="utf8")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "OMPI", "KERAS_DISTRIBUTION"))}
    done = subprocess.run([mpiexec, "-n", "3", sys.executable, "-m", "tdfast.distribution", str(path)],
                          capture_output=True, text=True, timeout=120,
                          env={**kept, "PYTHONPATH": os.path.dirname(os.path.dirname(tdfast.__file__))})
    assert done.returncode == 0 and done.stdout.count("5/5 models") == 1, done.stderr


def test_a_fleet_is_not_trained_by_several_processes_a_model():
    model = network()
    trained = fleet.fit(model, DATA, seed=1)
    with tdfast.distribution.DataParallel(shards=2).scope():
        for call in (lambda: fleet.fit(model, DATA), lambda: trained.predict({})):
            with pytest.raises(ValueError, match="one process trains each model of a fleet, but <DataParall"):
                call()


def test_ranks_must_do_the_same():
    model, other = network(), network()
    calls = {
        "keys": lambda rank: (model, DATA if rank else dict(list(DATA.items())[:-1]), {"seed": 1}),
        "seed": lambda rank: (model, DATA, {"seed": 1} if rank else {}),
        "arguments": lambda rank: (model, DATA, {"seed": 1, "epochs": 1 + rank}),
        "weights of the model": lambda rank: (other if rank else model, DATA, {"seed": 1}),
    }
    for name, call in calls.items():
        def fit(group, call=call):
            model, data, options = call(group.rank)
            return fleet.fit(model, data, engine=group, **options)

        first, second = map(str, on_ranks(2, fit))
        assert f"the {name} of rank 1 and of rank 0 differ" in first, first
        assert f"the {name} of rank 0 and of rank 1 differ" in second, second


def test_ranks_take_one_seed():
    model = network()
    one, two = on_ranks(2, lambda group: fleet.fit(model, DATA, engine=group))
    same(one, two)
    same(fleet.fit(model, DATA, seed=one.seed), one)


def test_a_mistake_on_one_rank_ends_all():
    model = network()
    first, second = on_ranks(2, lambda group: fleet.fit(model, DATA, seed=1, engine=group,
                                                        epochs=-group.rank))
    assert "rank 1 of 2 stopped. ValueError: fleet.fit: epochs must be" in str(first)
    assert str(second).startswith("fleet.fit: epochs must be a whole number")


def test_a_rank_that_is_stopped_tells_the_others():
    def prepare(given):
        if isinstance(given, str):
            raise KeyboardInterrupt
        return given

    data = {"a": DATA["shop1"], "b": "stop", "c": DATA["shop2"]}
    model = network()
    first, second = on_ranks(2, lambda group: fleet.fit(model, data, seed=1, engine=group, prepare=prepare,
                                                        threads=1))
    assert isinstance(second, KeyboardInterrupt) and "rank 1 of 2 was stopped" in str(first)
    assert list(first.fleet) == list(second.fleet) == ["a", "c"]


def test_one_line_of_all_ranks(capsys):
    on_ranks(2, lambda group: fleet.fit(network(), DATA, initialize=True, seed=1, engine=group, verbose=1))
    assert capsys.readouterr().out.startswith("11/11 models - ")
