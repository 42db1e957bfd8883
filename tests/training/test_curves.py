"""The pictures of curves: every curve is drawn, named and numbered from epoch 1."""

import sys

import matplotlib as mpl
import numpy as np
import pytest

import fnn

mpl.use("Agg")
METRICS = {
    "loss": np.array([3.0, 2.0, 1.0]), "validation_loss": np.array([3.0, 2.5, 2.4]),
    "validation_accuracy": np.array([0.1, 0.5, 0.6]),
}  # fmt: skip
HISTORY = fnn.training.History(np.zeros((3, 1)), METRICS)
FOUND = fnn.training.SweepResult(
    [{"seed": 0}, {"seed": 1}], {"loss": np.array([[3.0, 2.0], [3.0, np.nan]])}, [], np.array([2.0, np.nan]),
    np.array([False, True]), 0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _closed():
    from matplotlib import pyplot

    yield
    pyplot.close("all")


def drawn(panel):
    return {line.get_label(): line.get_xydata().tolist() for line in panel.get_lines()}


def test_a_history_has_a_panel_for_each_quantity():
    loss, accuracy = HISTORY.plot()
    assert drawn(loss) == {
        name.replace("_", " "): [[k + 1, v] for k, v in enumerate(METRICS[name])]
        for name in ("loss", "validation_loss")
    }
    assert set(drawn(accuracy)) == {"validation accuracy"}
    assert (loss.get_xlabel(), loss.get_ylabel(), accuracy.get_ylabel()) == ("epoch", "loss", "accuracy")
    # in axes of one's own
    again = HISTORY.plot([loss, accuracy])
    assert again[0] is loss and len(loss.get_lines()) == 4
    with pytest.raises(ValueError, match="axes must hold one for each of loss, accuracy, got 1"):
        HISTORY.plot(loss)


def test_an_epoch_alone_is_a_point_and_none_is_said():
    for curve, alone in (([3.0], [0]), ([3.0, np.nan, 2.0, 1.0], [0]), ([3.0, 2.0], []), ([np.nan], [])):
        history = fnn.training.History(np.zeros((len(curve), 1)), {"loss": np.array(curve)})
        (line,) = history.plot()[0].get_lines()
        assert line.get_marker() == "o" and line.get_markevery() == alone
        assert "loss" in history._repr_html_()
    with pytest.raises(ValueError, match=r"plot: a history must hold an epoch to be drawn, got none. Train for one"):
        fnn.training.History(np.zeros((0, 1)), {}).plot()


def test_a_sweep_shows_every_run_and_names_the_best():
    (panel,) = FOUND.plot()
    assert len(panel.get_lines()) == 3 and drawn(panel)["best: seed=0"] == [[1, 3], [2, 2]]
    with pytest.raises(ValueError, match="metric must be one of loss, got 'accuracy'"):
        FOUND.plot("accuracy")


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.delattr("matplotlib.pyplot")
    with pytest.raises(ImportError, match="the curves need matplotlib, got none installed"):
        HISTORY.plot()
