"""The pictures and pages of docs/graphs are those that the glass box draws, byte for byte."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WRITE = """
import sys
from pathlib import Path
from experiments.graphs import files
for name, text in files().items():
    Path(sys.argv[1], name).write_text(text, encoding="utf-8")
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_pictures_of_the_docs_are_those_of_today(tmp_path, seed):
    # in a process of its own, and whatever the order of Python's sets
    env = os.environ | {"PYTHONHASHSEED": seed}
    subprocess.run([sys.executable, "-c", WRITE, str(tmp_path)], cwd=ROOT, env=env, check=True, timeout=200)
    drawn, kept = (
        {path.name: path.read_bytes() for path in folder.iterdir()} for folder in (tmp_path, ROOT / "docs" / "graphs")
    )
    differ = sorted(name for name in drawn.keys() | kept.keys() if drawn.get(name) != kept.get(name))
    assert differ == [], "renew them by `python -m experiments.graphs`, and look at them"
