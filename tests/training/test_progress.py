"""Watching a run: what is shown, and what is written while it goes on."""

import json

import pytest

import fnn
from fnn.training import progress
from fnn.training import run as runs
from tests.training.test_run import X, Y, run, same

pytestmark = pytest.mark.quick_compilation


def test_plain_lines_where_there_is_no_terminal(capsys):
    whole, _ = run(epochs=20)
    state, _ = run(epochs=20, validation=(X, Y), progress_bar=True)
    *shown, end = capsys.readouterr().err.splitlines()
    assert same(state.params, whole.params), "to watch changes nothing"
    assert len(shown) in (10, 11) and shown[0].startswith("epoch 1 of 20: loss ")
    assert "validation accuracy" in shown[-1] and shown[-1].endswith(" 0 s left") and "epochs/s" in shown[-1]
    assert end == "ended after epoch 20 of 20: that was all"
    run(epochs=2)
    assert capsys.readouterr() == ("", "")


def stop(number, metrics):
    if number >= 2:
        raise fnn.StopTraining


AGAINST = X[::-1].copy(), 1 - Y[::-1]


@pytest.mark.parametrize(
    ("options", "end"),
    [
        ({"on_epoch": stop}, "of 50: on_epoch ended it"),
        ({"validation": AGAINST, "patience": 3}, "ended after epoch 4 of 50: validation_loss did not improve for 3 "
                                                 "epochs; the parameters of epoch 1 were returned"),
    ],
)  # fmt: skip
def test_the_end_says_why_and_which_epoch_came_back(options, end, capsys):
    first, _ = run(epochs=50, progress_bar=True, **options)
    assert capsys.readouterr().err.splitlines()[-1].endswith(end)
    if "patience" in options:
        run(params=first, epochs=9, progress_bar=True, **options)
        assert capsys.readouterr().err.splitlines()[-1].endswith("the parameters of an earlier call were returned")


def test_the_time_to_compile_is_no_part_of_the_rate(monkeypatch):
    run_, steps = runs.Run.__new__(runs.Run), 2
    run_.steps, run_.compiled, run_.counted = steps, 100.0, 0
    assert run_.pace() is None
    run_.counted = 60
    monkeypatch.setattr(runs.time, "perf_counter", lambda: 103.0)
    assert run_.pace() == 10.0


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress.shown(1, 3) as watch:
        for epoch in (1, 2, 3):
            watch(epoch, {"loss": 1.0 / epoch})
    assert "3/3" in capsys.readouterr().err


def test_json_lines_are_there_once_however_often_the_run_was_taken_up(tmp_path):
    log, kept = tmp_path / "log.jsonl", fnn.Checkpoints(tmp_path / "kept", every_seconds=0.0)

    def stop(epoch, found):
        assert json.loads(log.read_text().splitlines()[-1]) == {"epoch": epoch, **found}
        if epoch == 4:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run(on_epoch=stop, log=log, checkpoints=kept)
    # as a kill would leave it: more lines than checkpoints, the last cut off
    with open(log, "a") as file:
        file.write('{"epoch": 99, "loss": 1.0}\n{"epoch": 5, "lo')
    _, history = run(log=log, checkpoints=kept)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["loss"] for line in lines] == history.metrics["loss"].tolist()


def test_what_json_does_not_know_is_null(tmp_path):
    with progress.written(tmp_path / "log", 0) as line:
        line(1, {"loss": float("nan"), "accuracy": 0.5})
    assert json.loads((tmp_path / "log").read_text()) == {"epoch": 1, "loss": None, "accuracy": 0.5}
