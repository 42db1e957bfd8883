"""The stations of the course as notebooks: made from their pages, and run with the package alone, as by a student."""

import json
import os
import subprocess
import sys
from pathlib import Path

import notebooks

ROOT = Path(__file__).parents[1]
#: Runs the cells of each notebook, one after the other, and prints how many there were.
RUNNER = """
import json, pathlib, sys

# what a student does not have
sys.modules["experiments"] = sys.modules["tests"] = sys.modules["conftest"] = None
import fnn

assert pathlib.Path(fnn.__file__).is_relative_to(pathlib.Path.cwd()), fnn.__file__
for file in sys.argv[1:]:
    scope = {"__name__": "__main__"}
    cells = [cell for cell in json.loads(pathlib.Path(file).read_text())["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        exec(compile("".join(cell["source"]), file, "exec"), scope)
    print("ran", file, len(cells))
"""


def test_every_station_runs_without_the_repository(tmp_path):
    made = notebooks.pages()
    assert len(made) == len(notebooks.stations()) >= 6
    for name, text in made.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "fnn").symlink_to(ROOT / "fnn")
    (tmp_path / "run.py").write_text(RUNNER, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "run.py", *made], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert [line.split()[1] for line in ran.stdout.splitlines() if line.startswith("ran ")] == list(made)


def test_a_notebook_has_the_text_code_and_pictures_of_its_page(tmp_path):
    (tmp_path / "curve.svg").write_text("<svg/>")
    (tmp_path / "page.md").write_text(
        "# One\n\nSee [two](two.md) and [JAX](https://docs.jax.dev).\n\n```python\nprint(1)\n```\n\n```output\n1\n```\n\n"
        "![A curve](curve.svg)\n\n<details><summary>A solution</summary>\n\n```python\nx = 2\n```\n\n</details>\n\n"
        "```sh\npip\n```\n\nNext: [two](two.md).\n"
    )
    made = notebooks.notebook(tmp_path / "page.md")
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in made["cells"]]
    assert cells == [
        ("markdown", "# One\n\nSee two and [JAX](https://docs.jax.dev)."),
        ("code", "print(1)"),
        ("markdown", "![A curve](attachment:curve.svg)\n\n### A solution"),
        ("code", "x = 2"),
        ("markdown", "```sh\npip\n```"),
    ]
    assert list(made["cells"][2]["attachments"]) == ["curve.svg"]
    assert made["nbformat"] == 4 and len({cell["id"] for cell in made["cells"]}) == len(cells)
    assert json.loads(json.dumps(made)) == made
