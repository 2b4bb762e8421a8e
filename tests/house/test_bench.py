"""python -m tdfast.bench: what it prints and refuses. Times are measured there, never asserted here."""

import json

import numpy as np
import pytest

from tdfast.bench import cases, cli, contention, masked, race, report, with_tdfast


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


def test_quick_run_beside_busy_processes(capsys):
    assert cli.main(["contention", "--peers", "", "--quick", "--threads", "2"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{case} {beside}" in printed for case in contention.CASES
               for beside in ("alone", "beside 1", "beside 3"))


def test_quick_run_of_many_models_and_of_deep_ones(capsys):
    names = ["fit-fleet", "fit-lstm50", "fit-bidirectional"]
    assert cli.main([*names, "--peers", "", "--quick", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in names) and "failed" not in printed


@pytest.mark.parametrize("name", ["fit-fleet", "fit-lstm50", "fit-bidirectional"])
def test_weights_of_a_case_fit_its_model(name):
    case = cases.BY_NAME[name]
    model = with_tdfast.Model(case, *cases.data(case), 1)
    assert [w.shape for w in model.model.get_weights()] == [w.shape for w in cases.weights(case)]


def test_dropout_is_off_in_the_epoch_that_is_compared_and_on_after_it():
    case = cases.BY_NAME["fit-lstm50"]
    x, y = (a[:64] for a in cases.data(case))
    model = with_tdfast.Model(case, x, y, 1)
    losses = []
    for _ in range(2):
        model.set_weights(cases.weights(case))
        model.compile()
        losses.append(model.first_epoch())
    assert losses[0] == losses[1]
    assert {layer.rate for layer in model.model.layers if hasattr(layer, "rate")} == {case.dropout}


def test_quick_run_of_the_texts(capsys):
    assert cli.main(["text-adapt", "text-call", "--peers", "", "--quick", "--threads", "1"]) == 0
    printed = capsys.readouterr()
    assert "text-adapt" in printed.out and "text-call" in printed.out
    assert "Keras's layers of text need TensorFlow" in printed.err


def test_write_replaces_the_tables_of_a_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n\n{report.BEGIN}\nan earlier run\n{report.END}\nafter\n", encoding="utf8")
    assert cli.main(["stream-32", "--peers", "", "--quick", "--threads", "1", "--write", str(page)]) == 0
    text = page.read_text(encoding="utf8")
    assert text.startswith(f"# Before\n\n{report.BEGIN}\n") and text.endswith(f"{report.END}\nafter\n")
    assert "| stream-32 |" in text and "an earlier run" not in text
    page.write_text("no lines", encoding="utf8")
    with pytest.raises(SystemExit):
        cli.main(["stream-32", "--write", str(page)])
    assert "needs the lines" in capsys.readouterr().err


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
