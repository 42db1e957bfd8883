"""Where an equation comes from: the user's line, the function behind a call, the hand-written rule.

Promises: files of JAX, and of the parts of this package that trace for others, never count as a user's; if JAX does not
tell, the answer is NOWHERE or "".
"""

import functools
import itertools
import linecache
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from fnn.jaxprs.parts import bare, body_of

_JAX = Path(jax.__file__).parent
_FNN = Path(__file__).parent.parent

#: Folders of this package that trace functions of others, so that no equation comes from them.
_READERS = (_FNN / "jaxprs", _FNN / "checker", _FNN / "glassbox")


def name_of(equation: Any) -> str:
    """The name of the function that a call holds, without the underscore of a private one; "" if it has none."""
    name = str(equation.params.get("name") or "")
    if "call_jaxpr" in equation.params and not name:
        name = source_of(equation.params["call_jaxpr"])[0]
    return "" if "<" in name else name.lstrip("_")


def source_of(jaxpr: Any) -> tuple[str, str]:
    """(name, "file:line") of the function behind a jaxpr, as far as JAX tells: "relu at …/activations.py:82"."""
    information = str(getattr(bare(jaxpr).debug_info, "func_src_info", None) or "")
    name, _, where = information.partition(" at ")
    return name, where


def derivative_of(equation: Any) -> str:
    """The "file:line" of the hand-written derivative of an equation of CUSTOM, "" if JAX does not tell."""
    held = equation.params.get("bwd", equation.params.get("jvp_jaxpr_fun"))
    information = str(getattr(getattr(held, "debug_info", None), "func_src_info", None) or "")
    return information.partition(" at ")[2]


class Place(NamedTuple):
    """A line of the user's source."""

    file: str
    line: int
    function: str = ""
    """The function that it is in."""

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}" if self.file else ""

    @property
    def text(self) -> str:
        """The line itself, "" if it cannot be read."""
        return linecache.getline(self.file, self.line).strip() if self.file else ""


def line_of(error: BaseException, *, package: bool = True) -> str:
    """The line of the user's own code at which an error was raised, "" if there is none.

    With `package=False`, lines of this package are excluded too, wherever it is installed.
    """
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        ours = not package and Path(frame.filename).is_relative_to(_FNN)
        if is_own(frame.filename) and not (ours or is_installed(frame.filename)):
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return ""


#: The place if JAX does not tell.
NOWHERE = Place("", 0)


def place_of(equation: Any, *, installed: bool = True) -> Place | None:
    """The innermost line of source outside JAX; with `installed=False`, outside all installed packages."""
    return next(_places(equation, installed), None)


def places_of(equation: Any) -> tuple[Place, ...]:
    """The lines of source outside JAX under which an equation was traced, the innermost first."""
    return tuple(dict.fromkeys(_places(equation, installed=True)))


def callers_of(equation: Any) -> tuple[Place, ...]:
    """The lines that called the innermost line outside JAX, as far as no function of JAX stands in between."""
    inner = itertools.dropwhile(lambda frame: not is_own(frame.file_name), _frames(equation))
    direct = itertools.takewhile(lambda frame: is_own(frame.file_name), inner)
    return tuple(map(_place, direct))[1:]


def _places(equation: Any, installed: bool) -> Iterator[Place]:
    for frame in _frames(equation):
        if is_own(frame.file_name) and (installed or not is_installed(frame.file_name)):
            yield _place(frame)


def _frames(equation: Any) -> Sequence[Any]:
    source = getattr(getattr(equation, "source_info", None), "traceback", None)
    return getattr(source, "frames", ())


def _place(frame: Any) -> Place:
    return Place(frame.file_name, frame.line_num, frame.function_name)


@functools.cache
def is_own(file: str) -> bool:
    """False for the files of JAX and for those of this package that trace functions of others."""
    path = Path(file)
    if path.is_relative_to(_JAX) or "/jax/_src/" in path.as_posix():
        return False
    return not any(path.is_relative_to(reader) for reader in _READERS)


def is_installed(file: str) -> bool:
    """True for a file of an installed package."""
    return bool({"site-packages", "dist-packages"} & set(Path(file).parts))


def is_sampler(equation: Any) -> bool:
    """True for a call of a `jax.random` function."""
    body = body_of(equation)
    if body is None:
        return False
    file = Path(source_of(body)[1].rpartition(":")[0])
    # one file in some releases, a folder in others
    return file.is_relative_to(_JAX) and "random" in file.with_suffix("").parts


#: The name of a scope around each of the user's `stop_gradient` calls that is run again.
STOPPED = "stopped by the user"


def is_stopped_by_user(equation: Any) -> bool:
    """True for a `stop_gradient` that the user, or a library, calls; False for those inside JAX functions."""
    if equation.primitive.name != "stop_gradient":
        return False
    if STOPPED in str(equation.source_info.name_stack):
        return True
    frames = list(_frames(equation))
    inner = [k for k, frame in enumerate(frames) if frame.function_name == "stop_gradient"]
    return bool(inner) and inner[-1] + 1 < len(frames) and is_own(frames[inner[-1] + 1].file_name)
