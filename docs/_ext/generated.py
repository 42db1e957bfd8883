"""Where pages stand that are made from something else: `docs/generated/`, which is never committed.

Promises: a page that says what it said before is left alone, so that Sphinx reads only what changed; a page that is no
longer made is gone.
"""

from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "generated"


def write(folder: str, pages: Mapping[str, str | bytes]) -> None:
    """Make the folder hold these files, {path within it: what it says}, and no other."""
    root = FOLDER / folder
    wanted = {root / path: each if isinstance(each, bytes) else each.encode() for path, each in pages.items()}
    for file in [file for file in root.rglob("*") if file.is_file() and file not in wanted]:
        file.unlink()
    for file, content in wanted.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_bytes() != content:
            file.write_bytes(content)
