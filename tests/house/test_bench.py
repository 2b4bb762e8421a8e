"""python -m tdfast.bench: what it prints and refuses. Times are measured there, never asserted here."""

import json

import numpy as np
import pytest

from tdfast.bench import cases, cli, masked, race


def test_quick_run_of_the_smallest_cases(tmp_path, capsys):
    file = tmp_path / "result.json"
    assert cli.main(["predict-blog", "stream-32", "--peers", "", "--quick", "--threads", "1", "--json",
                     str(file)]) == 0
    printed = capsys.readouterr().out
    assert "predict-blog" in printed and "stream-32" in printed and "fp32 peak" in printed
    text = file.read_text()
    assert json.loads(text) and "predict-blog" in text and "stream-32" in text


def test_quick_run_of_the_masked_epochs(capsys):
    assert cli.main(["masked", "--peers", "", "--quick", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{cell} {kind} " in printed for cell in masked.CELLS for kind in masked.KINDS)


def test_quick_run_of_the_texts(capsys):
    assert cli.main(["text-adapt", "text-call", "--peers", "", "--quick", "--threads", "1"]) == 0
    printed = capsys.readouterr()
    assert "text-adapt" in printed.out and "text-call" in printed.out
    assert "Keras's layers of text need TensorFlow" in printed.err


@pytest.mark.parametrize("arguments, word", [(["fit-nothing"], "fit-nothing"),
                                             (["--peers", "abacus"], "abacus"),
                                             (["--threads", "0"], "at least 1")])
def test_unknown_names_are_refused(arguments, word, capsys):
    with pytest.raises(SystemExit):
        cli.main(arguments)
    assert word in capsys.readouterr().err


def test_list_names_every_case(capsys):
    assert cli.main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in cases.BY_NAME)


def test_a_peer_that_does_other_work_is_found_out():
    want = {"loss": 1.0, "outputs": np.ones((3, 2)).tolist()}
    assert race.compare("peer", want, want) == []
    for wrong in ({"loss": 1.01}, {"outputs": np.full((3, 2), 1.1).tolist()}, {"loss": float("nan")},
                  {"outputs": np.ones((2, 3)).tolist()}):
        assert len(race.compare("peer", want, {**want, **wrong})) == 1
