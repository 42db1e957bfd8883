"""Checkpoints: a run that was killed continues where it was, bit for bit.

Promises: a checkpoint is data, an npz file and a JSON manifest beside it, and exists as a whole or not at all: each
is written to a temporary file, flushed to the disk and renamed, the manifest last. A file that is damaged, cut off or
made by something else is refused by name, and the checkpoint before it is used. Nothing is ever unpickled; shapes,
dtypes and sizes are compared with those of this run before any array is read. One run at a time works in a folder.
Refuses: checkpoints of another net, optimizer, batch size or data; the message says what differs.
"""

import contextlib
import hashlib
import json
import os
import platform
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np

from fnn import leaves
from fnn.checks import warn
from fnn.training.identity import READ_BY_JAX, UNREADABLE
from fnn.training.placement import HERE, Placement
from fnn.types import PyTree

try:
    import fcntl
except ImportError:
    # only POSIX has it; `fit` without checkpoints works everywhere
    fcntl = None

FORMAT, VERSION = "fnn checkpoint", 1
#: What it means that the digest of a field is another one.
DIFFERS = {
    "optimizer": ": it computes something else, if only with another constant, such as a learning rate",
    "gradient": ": it computes something else, if only with another constant",
    "metrics": ": they compute something else, if only with another constant",
    "data": ": the arrays differ",
    "validation": ": the arrays differ",
    "start (parameters, optimizer state, key)": ": the arrays differ",
}
#: A manifest has a few kilobytes; a much longer file is not a manifest.
LONGEST_MANIFEST = 2**24


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, or a folder in which checkpoints cannot be kept.

    >>> from tempfile import NamedTemporaryFile
    >>> with NamedTemporaryFile() as file, fnn.Checkpoints(file.name).opened():
    ...     pass
    Traceback (most recent call last):
    ...
    fnn.training.checkpoints.CheckpointError: no checkpoints can be kept in ...: ... Give another folder.
    """


@dataclass(frozen=True)
class Checkpoints:
    """Where a run keeps its checkpoints: `fit(…, checkpoints=fnn.Checkpoints("runs/a"))`.

    If the folder holds checkpoints of this same run, `fit` continues from the last good one.

    Args:
        folder: where to keep them; created if it does not exist. Only one run at a time may use it.
        every_seconds: time between two checkpoints, in seconds; one is also written at the end and when the run is
            interrupted.
        keep: how many checkpoints to keep, at least 1.

    Raises:
        TypeError, ValueError: folder is not a name, every_seconds is below 0, keep is below 1.

    >>> fnn.Checkpoints("runs/a", every_seconds=600, keep=2)
    Checkpoints(folder='runs/a', every_seconds=600, keep=2)
    """

    folder: str | os.PathLike[str]
    every_seconds: float = 60.0
    keep: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.folder, str | os.PathLike) or not str(self.folder):
            raise TypeError(f"Checkpoints: folder must be the name of a folder, got {self.folder!r}. Try 'runs/a'.")
        seconds = self.every_seconds
        if isinstance(seconds, str) or np.ndim(seconds) or not seconds >= 0:
            raise ValueError(f"Checkpoints: every_seconds must be at least 0, got {seconds!r}. Try 60.")
        if isinstance(self.keep, bool) or not (isinstance(self.keep, int | np.integer) and self.keep >= 1):
            raise ValueError(f"Checkpoints: keep must be a whole number from 1 on, got {self.keep!r}. Try 3.")

    @contextlib.contextmanager
    def opened(self, placement: Placement = HERE) -> Iterator["Folder"]:
        """The folder, locked for this run."""
        folder = Path(self.folder)
        with contextlib.suppress(RuntimeError):
            # "~name" without such a user is a plain name
            folder = folder.expanduser()
        # the run stays in its folder when the working directory changes
        folder = folder.absolute()
        if fcntl is None:
            raise CheckpointError(
                "checkpoints need POSIX file locks, which this system (Windows, for example) lacks. Train without "
                "checkpoints, and keep what fit returns."
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = open(folder / "lock", "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise CheckpointError(f"no checkpoints can be kept in {folder}: {error}. Give another folder.") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise CheckpointError(
                    f"another run is using {folder}. Wait for it, or give this run another folder."
                ) from error
            yield Folder(folder, self.keep, placement)


def require_checkpoints(caller: str, value: Any) -> Checkpoints | None:
    """Return the record, or None; raise for anything else, such as the name of a folder."""
    if not isinstance(value, Checkpoints | None):
        raise TypeError(f"{caller}: checkpoints must be a record, got {value!r}. Give fnn.Checkpoints({value!r}).")
    return value


@dataclass(frozen=True)
class Folder:
    """A folder that is locked for this run."""

    path: Path
    keep: int
    placement: Placement = HERE

    def numbers(self) -> list[int]:
        """The numbers of the checkpoints in the folder, the last one first."""
        return sorted((int(p.stem) for p in self.path.glob("*.json") if p.stem.isdigit()), reverse=True)

    def save(self, tree: PyTree, run: dict[str, Any]) -> Path:
        """Write a checkpoint of these arrays, and drop those that are too old."""
        number = next(iter(self.numbers()), 0) + 1
        arrays: dict[str, Any] = {name: leaves.stored(leaf) for name, leaf in leaves.named(tree)}
        target = self.path / f"{number:08d}.npz"
        _written(target, lambda file: np.savez(file, **arrays))
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "run": run,
            "made_with": made_with(self.placement),
            "bytes": target.stat().st_size,
            "sha256": _digest(target),
            "arrays": {name: leaves.described(leaf) for name, leaf in leaves.named(tree)},
        }
        text = json.dumps(manifest, indent=1).encode()
        _written(target.with_suffix(".json"), lambda file: file.write(text))
        for half in self.path.glob(f"{'[0-9]' * 8}.*.{'[0-9a-f]' * 8}.part"):
            # left by a run that was killed while writing: the folder is locked, so nobody writes it now
            half.unlink(missing_ok=True)
        for old in self.numbers()[self.keep :]:
            # the manifest first: without it the arrays are not a checkpoint
            (self.path / f"{old:08d}.json").unlink(missing_ok=True)
            (self.path / f"{old:08d}.npz").unlink(missing_ok=True)
        return target

    def latest(self, like: PyTree, run: dict[str, Any]) -> PyTree | None:
        """The last good checkpoint in the structure of `like`, or None if there is none at all.

        Leaves of `like` whose first axis has length 0 may have any length there: curves that grow.

        Raises:
            CheckpointError: the checkpoint is of another run, or none can be read.
        """
        refused = []
        for number in self.numbers():
            target = self.path / f"{number:08d}.npz"
            try:
                manifest = _manifest(target.with_suffix(".json"))
            except CheckpointError as error:
                refused.append(str(error))
                continue
            # a checkpoint of something else is not damage: an older one would not help
            _require_same_run(target, manifest, run)
            _require_same_arrays(target, manifest["arrays"], like)
            try:
                tree = _read(target, manifest, like)
            except CheckpointError as error:
                refused.append(str(error))
                continue
            if refused:
                warn(f"{'; '.join(refused)}. {target.name}, the checkpoint before it, is used.")
            then, now = manifest["made_with"], made_with(self.placement)
            if then != now:
                text = [", ".join(f"{k} {v}" for k, v in each.items()) for each in (then, now)]
                warn(f"not bit-exact: {target.name} was made with {text[0]}; this is {text[1]}.")
            return tree
        if refused:
            raise CheckpointError(f"{'; '.join(refused)}. No good checkpoint is left. Empty the folder to start over.")
        return None


def made_with(placement: Placement) -> dict[str, str]:
    """What the bits of a run depend on besides its data: versions, devices, processes, CPU threads."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("NPROC") or str(allowed)
    return {
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "device": jax.devices()[0].device_kind,
        "threads": threads,
        "devices": str(placement.devices),
        "processes": str(placement.processes),
    }


def _written(target: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """A file of the folder that exists as a whole or not at all."""
    try:
        leaves.written(target, write)
    except OSError as error:
        raise CheckpointError(f"{target} could not be written: {error}. The checkpoint before it is intact.") from error


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(path: Path) -> dict[str, Any]:
    """The manifest; raises if the file is not one."""
    try:
        if path.stat().st_size > LONGEST_MANIFEST:
            raise CheckpointError(f"{path.name} is refused: too long for a manifest")
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} is refused: no manifest can be read from it ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path.name} is refused: it is not the manifest of a checkpoint")
    if manifest.get("version") != VERSION:
        raise CheckpointError(
            f"{path.name} is refused: version {manifest.get('version')!r}, this package reads {VERSION}"
        )
    wanted = {"run": dict, "made_with": dict, "bytes": int, "sha256": str, "arrays": dict}
    for key, kind in wanted.items():
        if not isinstance(manifest.get(key), kind):
            raise CheckpointError(f"{path.name} is refused: {key!r} is missing")
    return manifest


def _require_same_run(path: Path, manifest: dict[str, Any], run: dict[str, Any]) -> None:
    here, there = json.loads(json.dumps(run)), manifest["run"]
    # what JAX reads from a function differs from release to release
    silent = READ_BY_JAX if manifest["made_with"].get("jax") != jax.__version__ else ()
    for name, value in here.items():
        if name in silent:
            continue
        if UNREADABLE in (value if isinstance(value, list) else [str(value).split(" ")[-1], value]):
            raise CheckpointError(
                f"{path} cannot be continued: the {name} of this run cannot be compared, because it calls back "
                "into Python. Empty the folder to start over."
            )
        if there.get(name) != value:
            then, now = (_shortened(each) for each in (there.get(name), value))
            raise CheckpointError(
                f"{path} belongs to another run: {name} is {then} there and {now} here{DIFFERS.get(name, '')}. Give "
                "this run another folder, or make it as it was."
            )


def _shortened(value: Any) -> str:
    """A value as a message shows it; only the beginning of a SHA-256."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", repr(value))


def _require_same_arrays(path: Path, arrays: dict[str, Any], like: PyTree) -> None:
    own = {name: leaves.described(leaf) for name, leaf in leaves.named(like)}
    for name in sorted(own.keys() ^ arrays.keys()):
        here, there = ("here", "not in the checkpoint") if name in own else ("in the checkpoint", "not here")
        raise CheckpointError(
            f"{path} belongs to another net or optimizer: leaf {name} is {here} and {there}. Give this run a folder of "
            "its own."
        )
    for name, described in own.items():
        there = arrays[name]
        grows = described["shape"][:1] == [0]
        skipped = 1 if grows else 0
        same = isinstance(there, dict) and there.get("dtype") == described["dtype"]
        if not same or list(there["shape"])[skipped:] != described["shape"][skipped:]:
            raise CheckpointError(
                f"{path} belongs to another net or optimizer: leaf {name} is {there} there and {described} here. Give "
                "this run a folder of its own."
            )


def _read(path: Path, manifest: dict[str, Any], like: PyTree) -> PyTree:
    """The arrays, each checked before it is read."""
    refused = f"{path.name} is refused:"
    try:
        if path.stat().st_size != manifest["bytes"]:
            raise CheckpointError(f"{refused} it has {path.stat().st_size} bytes, {manifest['bytes']} were written")
        if _digest(path) != manifest["sha256"]:
            raise CheckpointError(f"{refused} its SHA-256 is not that of the manifest")
        arrays = []
        with zipfile.ZipFile(path) as file:
            for name, _ in leaves.named(like):
                promised = manifest["arrays"][name]
                with file.open(f"{name}.npy") as member:
                    array = leaves.read(member, file.getinfo(f"{name}.npy").file_size, promised)
                arrays.append(leaves.restored(array, promised))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{refused} {error}") from error
    return jax.tree.unflatten(jax.tree.structure(like), arrays)
