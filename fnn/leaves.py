"""The arrays of a tree in an npz file: how they are named, described, written and read. Checkpoints and `save` use it.

Promises: an array is read only if its header says what was promised of it; bits of every dtype of JAX come back, and
so do random keys. A file is there as a whole or not at all, and no other file is touched.
Refuses: Python objects; nothing is ever unpickled.
"""

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.types import PyTree, is_key


def named(tree: PyTree) -> list[tuple[str, Any]]:
    """(path, leaf) of every array; names are those of an npz member, so they hold no "/"."""
    return [
        (jax.tree_util.keystr(path).replace("/", "\\") or "array", leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def described(leaf: Any) -> dict[str, Any]:
    """Shape and dtype as a manifest says them."""
    if is_key(leaf):
        # asked inside a trace, where a description without numbers (`jax.ShapeDtypeStruct`) may stand for keys too
        kinds: list[Any] = []
        jax.eval_shape(lambda key: kinds.append(jax.random.key_impl(key)), leaf)
        return {"shape": list(leaf.shape), "dtype": f"key<{kinds[0]}>"}
    return {"shape": list(np.shape(leaf)), "dtype": jnp.result_type(leaf).name}


def stored(leaf: Any) -> np.ndarray:
    """The array as an npz file can hold it."""
    array = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
    # NumPy's file format knows no bfloat16 and the like: their bits are kept
    return array if array.dtype.kind in "biufc" else array.view(f"u{array.dtype.itemsize}")


def restored(array: np.ndarray, promised: dict[str, Any]) -> jax.Array:
    """The array as it was, from what the file holds and its description."""
    kind = promised["dtype"]
    if kind.startswith("key<"):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=kind[4:-1])
    dtype = jnp.dtype(kind)
    return jnp.asarray(array if array.dtype == dtype else array.view(dtype))


def read(member: IO[bytes], size: int, promised: dict[str, Any]) -> np.ndarray:
    """One array of `size` bytes; its header must say what was promised, and no more bytes may follow."""
    layout = np.lib.format.read_magic(member)
    if layout != (1, 0):
        raise ValueError(f"an array of format {layout}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
    wanted = tuple(promised["shape"])
    if promised["dtype"].startswith("key<"):
        shape_of_keys = shape[: len(wanted)]
        if shape_of_keys != wanted or dtype != np.uint32 or len(shape) != len(wanted) + 1 or shape[-1] > 8:
            raise ValueError(f"keys of shape {shape} and dtype {dtype}")
    elif shape != wanted or dtype.kind not in "biufc" or dtype.itemsize != jnp.dtype(promised["dtype"]).itemsize:
        raise ValueError(f"an array of shape {shape} and dtype {dtype} where {promised} was promised")
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size - member.tell() != count:
        raise ValueError(f"{size - member.tell()} bytes of data where {count} were promised")
    return np.frombuffer(member.read(count), dtype).reshape(shape, order="F" if fortran else "C")


def written(target: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """A file that is there as a whole or not at all: written beside its place, flushed to the disk and renamed.

    Raises:
        OSError: that names the target; what stood there before is as it was.
    """
    # a name may be as long as the file system allows
    beside = target.with_name(f"{target.name[:40]}.{secrets.token_hex(4)}.part")
    try:
        try:
            # a new file, whatever else has its name
            with open(beside, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                # who may read it stays as it was
                beside.chmod(stat.S_IMODE(target.stat().st_mode))
            beside.replace(target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(target)) from error
    if os.name == "posix":
        # the rename itself: a folder cannot be opened elsewhere
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
