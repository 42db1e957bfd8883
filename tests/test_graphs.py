"""The pictures and pages of docs/graphs are those that the glass box draws, byte for byte."""

from pathlib import Path

from experiments.graphs import files

FOLDER = Path(__file__).parents[1] / "docs" / "graphs"


def test_the_pictures_of_the_docs_are_those_of_today():
    drawn = files()
    kept = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    differ = sorted(name for name in drawn.keys() | kept.keys() if drawn.get(name) != kept.get(name))
    assert differ == [], "renew them by `python -m experiments.graphs`, and look at them"
