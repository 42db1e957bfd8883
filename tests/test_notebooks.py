"""The stations of the course as notebooks: made from their pages, and run with the package alone, as by a student."""

import json
import os
import subprocess
import sys
from pathlib import Path

import notebooks
import pytest

ROOT = Path(__file__).parents[1]
#: Runs the cells of each notebook, one after the other, and compares what they print with what the page shows.
RUNNER = """
import contextlib, doctest, io, json, pathlib, sys

# what a student does not have
sys.modules["experiments"] = sys.modules["tests"] = sys.modules["conftest"] = None
import fnn

assert pathlib.Path(fnn.__file__).is_relative_to(pathlib.Path.cwd()), fnn.__file__
alike = doctest.OutputChecker().check_output
for file in sys.argv[1:]:
    scope = {"__name__": "__main__"}
    cells = [cell for cell in json.loads(pathlib.Path(file).read_text())["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile("".join(cell["source"]), file, "exec"), scope)
        shown = "".join(output["text"] for output in cell["outputs"])
        if not alike(shown, printed.getvalue(), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE):
            sys.exit(f"{file}: the page shows\\n{shown}\\nand its block prints\\n{printed.getvalue()}")
    print("ran", file, len(cells))
"""


def run(folder: Path, made: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The notebooks run in a folder that holds them and the package, and nothing of the repository."""
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "fnn").symlink_to(ROOT / "fnn")
    (folder / "run.py").write_text(RUNNER, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "run.py", *made], cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.mark.timeout(600)
def test_every_station_runs_without_the_repository(tmp_path):
    made = notebooks.pages()
    assert len(made) == len(notebooks.stations()) >= 6
    ran = run(tmp_path, made)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert [line.split()[1] for line in ran.stdout.splitlines() if line.startswith("ran ")] == list(made)


def test_a_page_that_shows_what_its_block_does_not_print_is_seen(tmp_path):
    page = tmp_path / "wrong.md"
    page.write_text("# Wrong\n\n```python\nprint(1 + 1)\n```\n\n```output\n3\n```\n")
    ran = run(tmp_path, {"wrong.ipynb": json.dumps(notebooks.notebook(page))})
    assert ran.returncode == 1 and "the page shows\n3" in ran.stderr


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
    assert [cell["outputs"] and cell["outputs"][0]["text"] for cell in made["cells"] if "outputs" in cell] == [
        "1\n",
        [],
    ]
    assert made["nbformat"] == 4 and len({cell["id"] for cell in made["cells"]}) == len(cells)
    assert json.loads(json.dumps(made)) == made
