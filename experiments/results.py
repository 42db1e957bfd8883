"""What a run writes: `results.json` and figures, in the folder that the user named and nowhere else.

Promises: the file holds the options (seed included), versions and device beside the result; what differs between two
runs of the same thing (times, date, machine) stands in `measured`, everything else is the same again.
NaN and infinities, which JSON does not know, stand in it as text and are numbers again when it is read.
Refuses: a folder that cannot be written, before anything is computed.
"""

import dataclasses
import json
import math
import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

FILE = "results.json"


class FolderError(Exception):
    """The output folder cannot be used; the message says why and what to do."""


def claim(folder: Path) -> None:
    """Create the folder and try to write there. Raises `FolderError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".trial-{os.getpid()}"
        trial.touch(exist_ok=False)
        trial.unlink()
    except (FileExistsError, NotADirectoryError):
        raise FolderError(f"--out must be a folder; {folder} is a file or lies below one. Name another.") from None
    except OSError as error:
        raise FolderError(f"--out must be a folder to write to; {folder}: {error.strerror}. Name another.") from None


def write(folder: Path, name: str, options: Any, result: dict[str, Any]) -> dict[str, Any]:
    """Write the result of the experiment as JSON; return what the file holds, not yet judged."""
    import jax

    result = dict(result)
    measured = result.pop("measured", {}) | _when_and_where()
    device = jax.devices()[0]
    record = {
        "experiment": name,
        "options": _settings(options),
        "versions": _versions(),
        "device": {"platform": device.platform, "kind": device.device_kind},
        "result": result,
        "predictions": {},
        "verdicts": {},
        "figures": {},
        "measured": measured,
    }
    return store(folder, record)


def fail(folder: Path, name: str, options: Any, failure: str, saved: dict[str, Any] | None) -> None:
    """Write that the experiment failed, and why, in place of an earlier result; `saved` says how far it got."""
    begun = {
        "experiment": name,
        "options": _settings(options),
        "versions": _versions(),
        "verdicts": {},
        "figures": {},
        "measured": _when_and_where(),
    }
    store(folder, (saved or begun) | {"failure": failure})


def read(file: Path) -> dict[str, Any] | None:
    """The record in this file; None where there is no file, or none that holds a record."""
    try:
        record = _read(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and "experiment" in record else None


def store(folder: Path, record: dict[str, Any], file: str = FILE) -> dict[str, Any]:
    """Write a whole record, in place of what was there; return what the file holds, as read back from it."""
    text = json.dumps(_plain(record), indent=1, ensure_ascii=False, allow_nan=False)
    # a list of numbers on one line: a person looks into this file too
    text = re.sub(r"\[[\s\d.,eE+-]*\]", lambda numbers: " ".join(numbers[0].split()), text)
    replace(folder / file, text + "\n")
    return _read((folder / file).read_text(encoding="utf-8"))


def as_read(value: Any) -> Any:
    """What would be read back if this was stored."""
    return _read(json.dumps(_plain(value), allow_nan=False))


def _read(text: str) -> Any:
    return _numbers(json.loads(text))


def replace(file: Path, text: str) -> None:
    """Replace the file: a reader finds the old one or the new one, never half of it."""
    beside = file.with_name(f".{file.name}-{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def _settings(options: Any) -> dict[str, Any]:
    # where the files went, and what the shell is told, say nothing about the numbers
    return {key: value for key, value in dataclasses.asdict(options).items() if key not in ("out", "allow_lost")}


def _versions() -> dict[str, str]:
    packages = ("fnn", "jax", "jaxlib", "optax", "numpy")
    return {"python": platform.python_version()} | {package: version(package) for package in packages}


def _when_and_where() -> dict[str, Any]:
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"system": platform.system(), "processor": _processor(), "cores": os.cpu_count()},
    }


def _processor() -> str:
    """The processor's own name where the system tells it, else its architecture."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    named = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return named[1] if named else platform.machine()


#: The numbers that JSON does not know.
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _plain(value: Any) -> Any:
    """NumPy and JAX arrays and numbers as lists and numbers, paths as text, what is not finite by its name."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        names = (name for name, number in NOT_FINITE.items() if value == number)
        return value if math.isfinite(value) else next(names, "NaN")
    return str(value) if isinstance(value, Path) else _plain(value.tolist())


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_numbers(each) for each in value]
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value
