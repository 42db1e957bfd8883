"""The wine tables as files and over the wire, and the verdicts on doctored results."""

import copy
import hashlib

import numpy as np
import pytest

from experiments import archives, frame, wine
from experiments.__main__ import main
from experiments.registry import EXPERIMENTS
from experiments.wine import Options

TABLE = '"fixed acidity";"alcohol";"quality"\n7.4;9.4;5\n7.8;9.8;6\n6.1;12;7\n'


def test_a_table_is_read_as_it_stands(tmp_path, monkeypatch):
    file = tmp_path / "winequality-red.csv"
    file.write_text(TABLE)
    for options, variable in ((Options(data=tmp_path), ""), (Options(), str(tmp_path))):
        monkeypatch.setenv("FNN_DATA", variable)
        found = wine.table(options)
        assert found.features == ["fixed acidity", "alcohol"] and found.target == "quality"
        assert (found.x == [[7.4, 9.4], [7.8, 9.8], [6.1, 12]]).all() and (found.y == [5, 6, 7]).all()
        assert found.source == "winequality-red.csv of UCI, changed: its SHA-256 is another"
    known = {
        "winequality-red.csv": archives.WINE[file.name]._replace(sha256=hashlib.sha256(TABLE.encode()).hexdigest())
    }
    monkeypatch.setattr(archives, "WINE", known)
    assert wine.read(file).source == "winequality-red.csv of UCI"


def test_without_a_folder_the_wines_are_those_of_scikit_learn(monkeypatch):
    monkeypatch.delenv("FNN_DATA", raising=False)
    found = wine.table(Options())
    assert found.x.shape == (178, 12) and len(found.features) == 12
    assert "proline" not in found.features and found.y.max() == 1680


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must begin with names that end in quality, got ''"),
        ("a,b,quality\n1,2,3\n", "must begin with names that end in quality, got 'a,b,quality'"),
        (TABLE + "1;2\n", "must hold 3 numbers in each line. Fetch it again"),
        (TABLE + "1;2;three\n", "must hold 3 numbers in each line"),
        (TABLE + "1;2;nan\n", "must hold 3 numbers in each line"),
        (TABLE[:36], "must hold 3 numbers in each line"),
    ],
)
def test_another_table_is_refused(text, message, tmp_path, capsys):
    (tmp_path / "winequality-red.csv").write_text(text)
    assert main(["wine", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err


def test_a_missing_table_is_told(tmp_path, capsys):
    assert main(["wine", "--data", str(tmp_path), "--colour", "white", "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "winequality-white.csv: No such file" in told and "--data or FNN_DATA, or add --download" in told
    with pytest.raises(ValueError, match="--download must be given with --data FOLDER"):
        Options(download=True)


def test_what_is_fetched_is_compared_and_nothing_else_is_left(tmp_path):
    """The addresses are files here: no network is needed, and none is asked."""
    (tmp_path / "source").write_bytes(b"the file")
    right = archives.digest(b"the file")
    address = (tmp_path / "source").as_uri()
    gone = (tmp_path / "gone").as_uri()
    folder = tmp_path / "made" / "here"
    archives.fetch({"a": archives.Archive([gone, address], right, 100)}, folder)
    assert (folder / "a").read_bytes() == b"the file" and [file.name for file in folder.iterdir()] == ["a"]
    # what is there is not fetched again
    archives.fetch({"a": archives.Archive([gone], right, 100)}, folder)
    for archive, message in (
        (archives.Archive([address], "0" * 64, 100), "its SHA-256 is not 000"),
        (archives.Archive([address], right, 3), "its SHA-256 is not"),
        (archives.Archive([gone], right, 100), "No such file.*put the files into a folder yourself"),
        (archives.Archive(["http://localhost:59999/b"], right, 100), "refused.*Without a network"),
    ):
        with pytest.raises(archives.DataError, match=message):
            archives.fetch({"b": archive}, folder)
    assert [file.name for file in folder.iterdir()] == ["a"]
    with pytest.raises(archives.DataError, match="--data must be a folder to write to"):
        archives.fetch({"b": archive}, tmp_path / "source")


#: A result as the experiment leaves it, as far as `judge` reads it.
RESULT = {
    "data": {"target": "quality", "least": 0.0, "most": 10.0},
    "linear": {
        "curvatures": [0.2, 8.9], "normal_equations": 1e-15, "farthest": 1e-14, "cost_excess": 1e-15,
        "shrinks": 0.9772, "predicted_shrinks": 0.9775, "chord_excess": -0.1, "distances": [[3.0, 1.0]],
    },
    "line": {
        "at_0": 1.9, "at_100": 38.0, "observed": [3.0, 8.0], "alcohol": [8.4, 14.9], "apart_outside": 2.0,
        "apart_within": 0.1,
    },
    "segments": {"ends_differ": 0.0, "rise": 14.0},
}  # fmt: skip


def test_the_claims_hold_on_what_was_measured():
    assert {claim: each.verdict for claim, each in frame.judge(wine, RESULT).items()} == dict.fromkeys(
        EXPERIMENTS["wine"].claims, "confirmed"
    )


@pytest.mark.parametrize(
    ("part", "changes", "claim", "verdict"),
    [
        ("linear", {"curvatures": [-0.1, 8.9]}, "C1", "refuted"),
        ("linear", {"chord_excess": 1e-3}, "C1", "refuted"),
        ("linear", {"normal_equations": 1e-3}, "C1", "refuted"),
        ("linear", {"farthest": 5.0}, "C1", "refuted"),
        ("linear", {"shrinks": 0.97}, "C1", "refuted"),
        # nearer than at the start and not there yet: it says how many steps would do
        ("linear", {"farthest": 1e-3}, "C1", "open"),
        ("linear", {"shrinks": None}, "C1", "confirmed"),
        ("line", {"at_100": 7.0}, "C2", "refuted"),
        ("line", {"at_100": 9.0}, "C2", "refuted"),
        ("segments", {"rise": 1.0}, "C5", "refuted"),
        ("segments", {"ends_differ": 0.1}, "C5", "refuted"),
    ],
)
def test_a_wrong_number_refutes(part, changes, claim, verdict):
    result = copy.deepcopy(RESULT)
    result[part] |= changes
    judged = frame.judge(wine, result)
    assert judged[claim].verdict == verdict
    assert all(each.verdict == "confirmed" for other, each in judged.items() if other != claim)


def test_the_factor_of_a_late_step_is_read_from_a_descent():
    steps = np.arange(3000.0)
    fast, slow = 0.9**steps, 0.99**steps
    assert wine._shrinks(np.maximum([fast + slow, 2 * slow], 1e-14)) == pytest.approx(0.99)
    assert wine._shrinks(np.ones((2, 100))) is None
