"""Recordings of real Keras, replayed: tests/golden/index.json says what each case is.

NAME.keras is a model that Keras saved; NAME.npz holds what Keras then computed on any of its backends:
predictions, the losses of a few training steps, predictions and weights after them. ``tol`` is the
largest difference allowed, from the differences between Keras's own backends.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import tdfast

FOLDER = Path(__file__).parents[1] / "golden"
ROWS = json.loads((FOLDER / "index.json").read_text())["cases"]

pytest.importorskip("h5py")


def named(rows):
    return [pytest.param(row, id=row["name"]) for row in rows]


def make(module, spec):
    """A name stays a name; a dict becomes module.class_name(**config), with a learning-rate schedule made
    likewise."""
    if isinstance(spec, str):
        return spec
    config = {k: make(module.schedules, v) if k == "learning_rate" and isinstance(v, dict) else v
              for k, v in spec["config"].items()}
    return getattr(module, spec["class_name"])(**config)


def replay(row, data):
    """What Keras recorded, computed by tdfast."""
    model = tdfast.saving.load_model(FOLDER / row["file"])
    if row["compile"] == "row":
        model.compile(loss=make(tdfast.losses, row["loss"]),
                      optimizer=make(tdfast.optimizers, row["optimizer"]))
    out = {"pred0": model.predict(data["x"], batch_size=row["batch_size"], verbose=0)}
    losses = []
    for rows in row["batches"]:
        more = {"sample_weight": data["sample_weight"][rows]} if "sample_weight" in data else {}
        if "class_weight" in row:
            more["class_weight"] = {int(k): v for k, v in row["class_weight"].items()}
        losses.append(np.ravel(model.train_on_batch(data["x"][rows], data["y"][rows], **more))[0])
    out["losses"] = np.array(losses)
    out["pred1"] = model.predict(data["x"], batch_size=row["batch_size"], verbose=0)
    out.update((f"w1_{i}", w) for i, w in enumerate(model.get_weights()))
    return out


@pytest.mark.parametrize("row", named(r for r in ROWS if not r.get("bad") and "missing" not in r))
def test_replay(row):
    with np.load(FOLDER / f"{row['name']}.npz") as recorded:
        data = dict(recorded)
    got = replay(row, data)
    expected = {k: v for k, v in data.items() if k in ("pred0", "losses", "pred1") or k.startswith("w1_")}
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert got[key].shape == value.shape, key
        tol = row["tol"]["w1" if key.startswith("w1_") else key]
        np.testing.assert_allclose(got[key], value, rtol=0, atol=tol, err_msg=key)


@pytest.mark.parametrize("row", named(r for r in ROWS if r.get("bad")))
def test_bad_files_are_refused(row, monkeypatch):
    """The Lambda in one of them would set an environment variable if its code ran."""
    monkeypatch.delenv("GOLDEN_LAMBDA_RAN", raising=False)
    with pytest.raises(tdfast.saving.FileError, match=row["names"]):
        tdfast.saving.load_model(FOLDER / row["file"])
    import os

    assert "GOLDEN_LAMBDA_RAN" not in os.environ
