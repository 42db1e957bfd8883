"""The command lines of the checker and the glass box: finding the function that is named, making its arguments.

Promises: a mistake is a `Refused` with a message of one sentence; nothing on the command line is evaluated.
Refuses: pickled arrays.
"""

import argparse
import contextlib
import difflib
import importlib
import importlib.util
import inspect
import math
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn.checks import require_dtype

#: Shown by `--help`.
ARGUMENTS = """\
what an argument may be:
  0.5  -3  6            a number; 6 is 6.0, and 6:int a whole number, which has no derivative
  3,4                   normal random numbers of shape (3, 4); 6, is a vector of six
  3,4:bfloat16          the same in another dtype: float16, bfloat16, float32, float64
  6,:below3             six random whole numbers from 0 to 2, for instance labels
  x.npy                 an array saved by NumPy"""


class Refused(Exception):
    """The request cannot be carried out; the message says why."""


#: The errors that mean a request cannot be carried out.
REFUSALS = (Refused, TypeError, ValueError, NotImplementedError, ModuleNotFoundError, OSError)


def run(
    parser: argparse.ArgumentParser,
    act: Callable[[argparse.Namespace, set[str]], int],
    arguments: Sequence[str],
    hint: Callable[[str], str] = lambda message: "",
) -> int:
    """Parse the arguments, act, and return the exit status: that of `act`, or 2 after a refusal.

    A refusal prints its message and what `hint` adds to it. An error raised inside the user's code, that is in one of
    the files that `act` adds to its second argument, prints its traceback.
    """
    try:
        # a negative number is an argument, not an option; the space makes argparse treat it so
        options = parser.parse_args([f" {each}" if number(each) is not None else each for each in arguments])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2
    own: set[str] = set()
    try:
        return act(options, own)
    except Exception as error:
        frames = {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
        refused = isinstance(error, Refused) or (isinstance(error, REFUSALS) and not own & frames)
        if refused:
            print(f"{error}{hint(str(error))}", file=sys.stderr)
        else:
            traceback.print_exc()
        return 2


def target(text: str, own: set[str]) -> tuple[ModuleType, str]:
    """The module, and the name in it or ""; its file is added to `own`."""
    # a path may contain a colon, as on Windows: only what follows .py or a module's name is a function
    place, colon, name = text.rpartition(":") if not text.endswith(".py") else (text, "", "")
    place, name = (place, name) if place else (name, "")
    path = Path(place)
    if path.suffix == ".py":
        if not path.is_file():
            raise Refused(f"there is no file {place}.")
        own.add(str(path.resolve()))
        return _from_file(path.resolve()), name
    if not all(part.isidentifier() for part in place.split(".")):
        raise Refused(f"{place!r} is neither a module nor a .py file. Example: cube.py:loss")
    try:
        spec = importlib.util.find_spec(place)
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        module, dot, last = place.rpartition(".")
        hint = f" A function in a module is written {module}:{last}." if dot and not colon else ""
        raise Refused(
            f"there is no module {place!r}. Give one that can be imported from here, or a path to a .py file.{hint}"
        )
    own.add(spec.origin or "")
    return importlib.import_module(place), name


def _from_file(path: Path) -> ModuleType:
    # so that it can import its neighbours, as when Python runs it
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    name = path.stem if path.stem not in sys.modules else f"checked_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Refused(f"{path} cannot be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    # dataclasses look up their module while they are made
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def lookup(module: ModuleType, dotted: str, own: set[str]) -> Any:
    """The object of this dotted name in the module; its file is added to `own`."""
    value: Any = module
    for part in dotted.split("."):
        if not hasattr(value, part):
            nearest = difflib.get_close_matches(part, dir(value), n=1, cutoff=0.5)
            hint = f"; perhaps {nearest[0]!r}?" if nearest else "."
            raise Refused(f"there is no {dotted!r} in {module.__name__}{hint}")
        value = getattr(value, part)
    # a record or a built-in has no file
    with contextlib.suppress(TypeError):
        own.add(inspect.getsourcefile(inspect.unwrap(value)) or "")
    return value


def number(text: str) -> float | None:
    """The number that an argument starts with, or None."""
    try:
        return float(text.split(":")[0])
    except ValueError:
        return None


def argument(spec: str, place: int, seed: int) -> Any:
    """The array described by one argument of the command line."""
    if spec.endswith(".npy"):
        if not Path(spec).is_file():
            raise Refused(f"there is no file {spec}.")
        return jnp.asarray(np.load(spec, allow_pickle=False))
    body, _, kind = spec.partition(":")
    random = np.random.default_rng((seed, place))
    value = number(body)
    if value is not None and kind == "int" and value.is_integer():
        return jnp.asarray(int(value))
    if value is not None and math.isfinite(value):
        return jnp.asarray(value, _dtype(spec, kind))
    if re.fullmatch(r"\d+,|\d+(,\d+)+", body):
        shape = tuple(int(size) for size in body.split(",") if size)
        if below := re.fullmatch(r"below([1-9]\d*)", kind):
            return jnp.asarray(random.integers(0, int(below[1]), shape), jnp.int32)
        return jnp.asarray(random.normal(0, 1, shape), _dtype(spec, kind))
    raise Refused(
        f"the argument {spec!r} is not understood. Give a number such as 0.5, a shape such as 3,4 or 3,4:bfloat16 "
        "(6, for a vector), whole numbers such as 6,:below3, or a file x.npy."
    )


def _dtype(spec: str, name: str) -> Any:
    if name not in ("", "float16", "bfloat16", "float32", "float64"):
        raise Refused(f"the argument {spec!r} names no floating dtype: use float16, bfloat16, float32 or float64.")
    return require_dtype(name or "float32")
