"""The arrows of docs/design.md: which file may import which, read from the table there and held against the source."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fnn

PACKAGE = Path(fnn.__file__).parent
PAGE = PACKAGE.parent / "docs" / "design.md"
#: The package as a whole stands above its files.
FILES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")}
FILES.pop("__init__")


def imports(file: str) -> set[str]:
    """The files of fnn that this one imports, anywhere in it: inside functions and for type checkers too."""
    found = set()
    for node in ast.walk(ast.parse(FILES[file].read_text(encoding="utf-8"))):
        modules = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{each.name}" for each in node.names]
        for module in modules:
            path = module.removeprefix("fnn.").replace(".", "/")
            candidates = [path, path.rpartition("/")[0], f"{path}/__init__", f"{path.rpartition('/')[0]}/__init__"]
            found |= {next((each for each in candidates if each in FILES), "")} if module.startswith("fnn.") else set()
    return found - {"", file}


def tables() -> dict[str, dict[str, set[str]]]:
    """{room, "" for the package itself: {file or room: what it imports}}, from the tables of the page."""
    found: dict[str, dict[str, set[str]]] = {}
    for section in re.split(r"^#+ ", PAGE.read_text(encoding="utf-8"), flags=re.M):
        rows = re.search(r"^\| file \| imports from \|\n\|[-| ]+\|\n((?:\|.*\n)+)", section, re.M)
        if rows:
            room = re.search(r"`(\w+)/`", section.splitlines()[0])
            cells = [[re.findall(r"\w+", cell) for cell in row.split("|")[1:3]] for row in rows[1].splitlines()]
            found[room[1] if room else ""] = {name: set(allowed) for (names, allowed) in cells for name in names}
    return found


def unit(file: str, room: str) -> str:
    """The name that a file has in the table of a room: its own, or that of the folder in which it stands."""
    return file.removeprefix(f"{room}/").split("/")[0]


@pytest.mark.parametrize("room", ["", "curvature", "training", "estimators", "checker", "glassbox"])
def test_the_arrows_of_the_page_are_those_of_the_source(room):
    drawn: dict[str, set[str]] = {}
    inside = [file for file in FILES if file.startswith(f"{room}/") or not room]
    for file in inside:
        targets = {unit(each, room) for each in imports(file) if each in inside}
        drawn.setdefault(unit(file, room), set()).update(targets - {unit(file, room)})
    drawn.pop("__init__", None)
    assert drawn == tables()[room]


def test_no_file_imports_itself_by_way_of_others():
    below = {file: imports(file) for file in FILES}

    def walk(file: str, path: tuple[str, ...]) -> None:
        assert file not in path, " imports ".join([*path[path.index(file) :], file])
        for each in below.pop(file, ()):
            walk(each, (*path, file))

    while below:
        walk(next(iter(below)), ())


def test_rooms_are_loaded_when_they_are_used():
    script = "import sys, fnn; print(*sorted(m for m in sys.modules if m.startswith('fnn.')))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    rooms = {"checker", "curvature", "glassbox", "training", "lectures", "data", "differences", "jaxprs", "cli"}
    rooms |= {"storage", "leaves", "estimators"}
    assert not {name.split(".")[1] for name in loaded} & rooms
    assert {name for name in dir(fnn) if not hasattr(fnn, name)} == set()
