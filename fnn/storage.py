"""Parameters in a file: an npz file that NumPy opens too, with the structure of the tree beside the arrays.

Promises: what `save` writes comes back from `load` bit for bit, in its structure; the file is there as a whole or not
at all, under exactly the name that was given, and no other file is touched. A hostile file can do nothing but be
refused: nothing is unpickled, and no more is read than the file is long.
Refuses: leaves that are no arrays; containers of other kinds than dict, list, tuple, named tuple and None; a file that
does not fit the parameters that were asked for, by the name of the leaf.
"""

import json
import os
import zipfile
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fnn import leaves
from fnn.types import PyTree, is_key

__all__ = ["load", "save"]

FORMAT, VERSION = "fnn parameters", 1
#: The member that holds the structure.
STRUCTURE = "structure.json"
#: How to make the `like` of a `TrainState`, in a process that has none.
LIKE_STATE = (
    "Give like=state, a state of the same net, optimizer and options: fnn.fit(…, epochs=1)[0], or for a loop of your "
    "own fnn.training.initial_state(…)."
)
#: Bytes; a structure names each leaf and each container once.
LONGEST_STRUCTURE = 2**24


def save(path: str | os.PathLike[str], params: PyTree) -> None:
    """Write parameters, or any tree of arrays such as a `TrainState`, to a file; `load` reads it.

    What stood there is replaced once the new file is complete.

    Args:
        path: the file, conventionally ``.npz``; `~` is your home.
        params: a tree of dicts, lists, tuples, named tuples and None with arrays at the leaves.

    Raises:
        TypeError: a leaf that is no array of numbers, or a container of another kind.
        OSError: a file that cannot be written; what stood there is as it was.

    >>> import tempfile
    >>> net = fnn.mlp(2, 3, 1)
    >>> params = net.init(jax.random.key(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fnn.save(f"{folder}/net.npz", params)
    ...     same = fnn.load(f"{folder}/net.npz", like=params)
    >>> bool((same[0]["W"] == params[0]["W"]).all())
    True
    """
    target = _target("save", path, "fnn.save('net.npz', params)")
    arrays = _named(params)
    for name, leaf in arrays:
        if isinstance(leaf, Tracer):
            raise TypeError(f"save: leaf {name} must be an array, got the traced {leaf}. Call it outside jit.")
        if isinstance(leaf, np.ma.MaskedArray):
            raise TypeError(f"save: leaf {name} must be an ordinary array, got a masked one. Fill it: .filled(0).")
        if not (hasattr(leaf, "dtype") and hasattr(leaf, "shape") and _is_number(leaf)):
            raise TypeError(f"save: leaf {name} must be an array of numbers, got {leaf!r}. Wrap it: jnp.asarray(…).")
        if not is_key(leaf) and jnp.result_type(leaf) != leaf.dtype:
            raise TypeError(
                f"save: leaf {name} is {leaf.dtype}, which would be {jnp.result_type(leaf)} to JAX, got 64-bit mode "
                'off. Cast it, or save and load under "with jax.enable_x64(True):".'
            )
    structure = {
        "format": FORMAT,
        "version": VERSION,
        "tree": _described(jax.tree.unflatten(jax.tree.structure(params), [name for name, _ in arrays]), "params"),
        "arrays": {name: leaves.described(leaf) for name, leaf in arrays},
    }

    def write(file: IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(STRUCTURE, json.dumps(structure))
            for name, leaf in arrays:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, leaves.stored(leaf), (1, 0), allow_pickle=False)

    leaves.written(target, write)


def load(path: str | os.PathLike[str], like: PyTree | None = None) -> PyTree:
    """The parameters that `save` wrote.

    Args:
        path: the file; `~` is your home.
        like: parameters whose structure, shapes and dtypes the file must have, such as `net.init(key)` or
            `jax.eval_shape(net.init, key)`. Without it the tree comes back as it was saved; a tree with named tuples
            needs it, for a file does not know their classes: for a state, give one of the same net, optimizer and
            options, such as that of `fit(…, epochs=1)`.

    Raises:
        ValueError: a file that `save` did not write, a damaged one, or one that does not fit `like`, by the name of the
            leaf; float64 while JAX's 64-bit mode is off.
        OSError: a file that cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fnn.save(f"{folder}/net.npz", fnn.mlp(2, 3, 1).init(jax.random.key(0)))
    ...     fnn.load(f"{folder}/net.npz", like=fnn.mlp(2, 4, 1).init(jax.random.key(0)))
    Traceback (most recent call last):
    ...
    ValueError: load: leaf [0]['W'] of ...net.npz must have shape (2, 4) and dtype float32, got (2, 3) and float32...
    """
    target = _target("load", path, "fnn.load('net.npz')")
    strange = next((leaf for leaf in jax.tree.leaves(like) if not hasattr(leaf, "dtype")), None)
    if strange is not None:
        raise TypeError(
            f"load: like must be a tree of arrays as the file holds them, got {strange!r:.60} in it. Give "
            "net.init(key), or what was saved."
        )
    try:
        with zipfile.ZipFile(target) as file:
            structure = _structure(file)
            if like is not None:
                _require_like(target, structure, like)
            arrays = {name: _array(file, name, promised) for name, promised in structure["arrays"].items()}
        tree = _rebuilt(structure["tree"], arrays) if like is None else None
    except _Unfit as error:
        raise ValueError(f"load: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"load: {target} must be a file of fnn.save, whole and unchanged, got something else: {error}. Save it "
            "again."
        ) from error
    if like is None:
        return tree
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name, _ in leaves.named(like)])


class _Unfit(ValueError):
    """An undamaged file that is not what was asked for."""


def _named(params: PyTree) -> list[tuple[str, Any]]:
    """(path, leaf) of every array, those of NumPy in the byte order of this machine."""
    try:
        named = leaves.named(params)
    except ValueError as error:
        raise TypeError(
            "save: a dict must have keys that can be put in order, all names or all whole numbers, got keys of several "
            "kinds. Rename them."
        ) from error
    return [
        (name, leaf.astype(leaf.dtype.newbyteorder("=")) if isinstance(leaf, np.ndarray) and not leaf.dtype.isnative
         else leaf) for name, leaf in named
    ]  # fmt: skip


def _target(caller: str, path: Any, remedy: str) -> Path:
    """The path with `~` for the home; what is nobody's home is a name."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{caller}: the path must be the name of a file, got a {type(path).__name__}. Give {remedy}.")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def _is_number(leaf: Any) -> bool:
    # JAX has no longdouble
    held = jnp.issubdtype(leaf.dtype, jnp.number) and leaf.dtype not in (np.longdouble, np.clongdouble)
    return is_key(leaf) or held or leaf.dtype == bool


def _described(tree: PyTree, where: str) -> Any:
    """The tree as JSON: a string is a leaf, by its name."""
    if tree is None or isinstance(tree, str):
        return tree
    names = getattr(tree, "_fields", None)
    if isinstance(tree, tuple) and names is not None:
        parts = {name: _described(each, f"{where}.{name}") for name, each in zip(names, tree, strict=True)}
        return {"named tuple": type(tree).__name__, "parts": parts}
    if type(tree) in (tuple, list):
        return {type(tree).__name__: [_described(each, f"{where}[{k}]") for k, each in enumerate(tree)]}
    if type(tree) is dict and all(type(key) in (str, int) for key in tree):
        return {"dict": [[key, _described(each, f"{where}[{key!r}]")] for key, each in sorted(tree.items())]}
    raise TypeError(
        f"save: {where} must be a dict with names or whole numbers as keys, a list, a tuple, a named tuple or None, "
        f"got {type(tree).__name__}. Save a dict of its arrays."
    )


def _rebuilt(tree: Any, arrays: dict[str, Any]) -> PyTree:
    """The tree of a description."""
    if tree is None or isinstance(tree, str):
        return None if tree is None else arrays[tree]
    ((kind, parts), *_) = tree.items()
    if kind == "dict":
        return {key: _rebuilt(each, arrays) for key, each in parts}
    if kind == "named tuple":
        raise _Unfit(
            f"the file holds a named tuple {tree['named tuple']}, whose class a file does not know, got no `like`. "
            + _remedy(tree, "Give `like`, a tree of the same structure.")
        )
    return {"list": list, "tuple": tuple}[kind](_rebuilt(each, arrays) for each in parts)


def _structure(file: zipfile.ZipFile) -> dict[str, Any]:
    """What the file says of itself, if `save` wrote it."""
    size = file.getinfo(STRUCTURE).file_size
    if size > LONGEST_STRUCTURE:
        raise ValueError(f"{STRUCTURE} has {size} bytes")
    with _member(file, STRUCTURE) as member:
        structure = json.loads(member.read(size))
    if structure["format"] != FORMAT:
        raise ValueError(f"its format is {structure['format']!r}")
    if structure["version"] != VERSION:
        raise ValueError(f"its version is {structure['version']!r}, this package reads {VERSION}")
    return structure


def _array(file: zipfile.ZipFile, name: str, promised: dict[str, Any]) -> jax.Array:
    kind = promised["dtype"]
    if not kind.startswith("key<") and jax.dtypes.canonicalize_dtype(kind) != jnp.dtype(kind):
        raise _Unfit(
            f"leaf {name} needs JAX's 64-bit mode for {kind}, got a JAX in which it is off. Load it under "
            '"with jax.enable_x64(True):", or start with JAX_ENABLE_X64=1.'
        )
    member = f"{name}.npy"
    with _member(file, member) as opened:
        return leaves.restored(leaves.read(opened, file.getinfo(member).file_size, promised), promised)


def _member(file: zipfile.ZipFile, name: str) -> IO[bytes]:
    """A member as it stands in the file: one that is compressed could be any number of times as long."""
    if file.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    return file.open(name)


def _require_like(path: Path, structure: dict[str, Any], like: PyTree) -> None:
    """Raise unless the file has the leaves, shapes, dtypes and containers of `like`."""
    own, saved = {name: leaves.described(leaf) for name, leaf in leaves.named(like)}, structure["arrays"]
    remedy = _remedy(structure["tree"], "Was it saved for another net?")
    if remedy == LIKE_STATE and type(like).__name__ != "TrainState":
        raise _Unfit(f"{path} holds a TrainState, got a {type(like).__name__} as `like`. {remedy}")
    for name in sorted(own.keys() ^ saved.keys()):
        where = "is missing in the file" if name in own else "is in the file alone"
        raise _Unfit(f"{path} must hold the leaves of `like`, got other ones: {name} {where}. {remedy}")
    for name, wanted in own.items():
        if saved[name] != wanted:
            (shape, dtype), (other, kind) = ((tuple(d["shape"]), d["dtype"]) for d in (wanted, saved[name]))
            raise _Unfit(
                f"leaf {name} of {path} must have shape {shape} and dtype {dtype}, got {other} and {kind}. Was it "
                "saved for another net?"
            )
    names = jax.tree.unflatten(jax.tree.structure(like), list(own))
    described = json.loads(json.dumps(_described(names, "like")))
    if described != structure["tree"]:
        raise _Unfit(
            f"{path} must have the lists, tuples and dicts of `like`, got the same leaves in other containers: "
            f"{_kinds(structure['tree'])} where `like` has {_kinds(described)}. Load it without `like` and convert."
        )


def _remedy(tree: Any, otherwise: str) -> str:
    """What to give as `like`, if the tree of a description is a state."""
    return LIKE_STATE if isinstance(tree, dict) and tree.get("named tuple") == "TrainState" else otherwise


def _kinds(tree: Any) -> str:
    """The containers of a description, as short as they can be told apart."""
    if tree is None or isinstance(tree, str):
        return "·" if tree else "None"
    ((kind, parts), *_) = tree.items()
    if kind == "named tuple":
        return f"{parts}({', '.join(map(_kinds, tree['parts'].values()))})"
    inside = [each[1] for each in parts] if kind == "dict" else parts
    return f"{kind}({', '.join(map(_kinds, inside))})"
