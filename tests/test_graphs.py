"""The pictures of docs/graphs are those that the glass box draws, byte for byte, and its pages are always the same."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WRITE = """
import sys
from pathlib import Path
from experiments.graphs import pages, pictures
for name, text in (pictures() | pages()).items():
    Path(sys.argv[1], name).write_text(text, encoding="utf-8")
"""


def test_the_pictures_of_the_docs_are_those_of_today(tmp_path):
    drawn = []
    for seed in ("1", "2"):
        # in a process of its own, and whatever the order of Python's sets
        env = os.environ | {"PYTHONHASHSEED": seed}
        (folder := tmp_path / seed).mkdir()
        subprocess.run([sys.executable, "-c", WRITE, str(folder)], cwd=ROOT, env=env, check=True, timeout=200)
        drawn.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert drawn[0] == drawn[1]
    now = {name: text for name, text in drawn[0].items() if name.endswith(".svg")}
    kept = {path.name: path.read_bytes() for path in (ROOT / "docs" / "graphs").iterdir()}
    differ = sorted(name for name in now.keys() | kept.keys() if now.get(name) != kept.get(name))
    assert differ == [], "renew them by `python -m experiments.graphs`, and look at them"
