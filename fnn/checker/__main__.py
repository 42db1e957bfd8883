"""`python -m fnn.checker`: check a gradient that stands in a file, from the command line.

Promises: exit status 0 ok, 1 not ok, 2 not understood or refused; a refusal is one sentence, and an error raised inside
the user's own function shows where it was raised.
Refuses: pickled arrays.
"""

import argparse
import contextlib
import difflib
import importlib
import importlib.util
import inspect
import json
import math
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checker.check import check
from fnn.checker.every import is_rule, reports_of, rules_of, weighted
from fnn.checker.report import Report
from fnn.requirements import require_dtype

PROGRAM = "python -m fnn.checker"
EXPLAINED = """\
what an argument may be:
  0.5  -3  6            a number; 6 is 6.0, and 6:int a whole number, which has no derivative
  3,4                   normal random numbers of shape (3, 4); 6, is a vector of six
  3,4:bfloat16          the same in another dtype: float16, bfloat16, float32, float64
  6,:below3             six random whole numbers 0, 1, 2, such as labels
  x.npy                 an array that NumPy saved

an example, where cube.py holds a function under jax.custom_vjp:
  python -m fnn.checker cube.py                    every hand-written rule of the file, on generic arguments
  python -m fnn.checker cube.py:loss 3,4 0.5       loss(x, 0.5) with a random x of shape (3, 4)
  python -m fnn.checker cube.py:loss 3,4 0.5 --gradient cube.py:loss_gradient --picture cube.png

exit status: 0 ok, 1 not ok, 2 not understood."""


class Refused(Exception):
    """What was asked for cannot be done; the message says why."""


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit status: 0 ok, 1 not ok, 2 not understood or refused."""
    try:
        # a negative number is an argument and no option; argparse takes what holds a space for one
        options = _parser().parse_args([f" {each}" if _number(each) is not None else each for each in arguments])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2
    own: set[str] = set()
    try:
        return _run(options, own)
    except Refused as error:
        return _refuse(str(error))
    except Exception as error:
        # the checker refuses in one sentence; what was raised inside the user's code shows where
        frames = {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
        if own & frames or not isinstance(error, TypeError | ValueError | ModuleNotFoundError | OSError):
            traceback.print_exc()
            return 2
        return _refuse(str(error))


def _run(options: argparse.Namespace, own: set[str]) -> int:
    for file in (options.json, options.picture):
        if file is not None and not file.parent.is_dir():
            raise Refused(f"{file} cannot be written: there is no folder {file.parent}.")
    module, dotted = _target(options.target, own)
    asked = {"order": options.order, "batched": options.batched or None}
    asked = {name: value for name, value in asked.items() if value is not None}
    if not dotted:
        return _every(module, options, asked)
    function = _found(module, dotted, own)
    args = tuple(_argument(spec.strip(), k, options.seed) for k, spec in enumerate(options.inputs))
    if options.gradient is not None:
        beside, name = _target(options.gradient, own)
        if not name:
            raise Refused(f"--gradient needs a function, module:name; {options.gradient!r} came.")
        gradient = _found(beside, name, own)
        reports = [check(function, *args, gradient=gradient, seed=options.seed, **asked)]
    elif not callable(function):
        raise Refused(f"{dotted} in {module.__name__} is no function; it is {type(function).__name__}.")
    elif is_rule(function) or not args:
        reports = reports_of(dotted, function, args or None, seed=options.seed, **asked)
    else:
        reports = [_summed(function, args, options.seed, asked)]
    for report in reports:
        print(report)
    worst = min(reports, key=lambda report: report.ok)
    if options.json is not None:
        options.json.write_text(worst.to_json())
    if options.picture is not None:
        # named here and not above: matplotlib is looked for when a picture is wanted
        from fnn.checker.picture import draw

        draw(worst, options.picture)
    return 0 if worst.ok else 1


def _every(module: ModuleType, options: argparse.Namespace, asked: dict[str, Any]) -> int:
    """Every rule of the module, on generic inputs; what is ok takes one line."""
    for given, what in (
        (options.inputs, "arguments"),
        (options.gradient, "--gradient"),
        (options.picture, "--picture"),
    ):
        if given:
            raise Refused(f"{what} belong to one function: name it, {options.target}:function.")
    rules, told, status = rules_of(module), {}, 0
    width = max(map(len, rules))
    for name, rule in rules.items():
        try:
            reports = reports_of(name, rule, seed=options.seed, **asked)
        except (TypeError, ValueError) as error:
            print(f"{name:<{width}}  not checked: {error}\n{'':<{width}}  Here: {PROGRAM} {options.target}:{name} …")
            status = status or 2
            continue
        told[name] = [json.loads(report.to_json()) for report in reports]
        for report in reports:
            text = str(report)
            print(f"{name:<{width}}  {text.splitlines()[-1]}" if report.ok else f"{name}\n{text}\n")
            status = status if report.ok else 1
    if options.json is not None:
        options.json.write_text(json.dumps(told, indent=1, ensure_ascii=False))
    return status


def _summed(function: Callable[..., Any], args: tuple, seed: int, asked: dict[str, Any]) -> Report:
    """The check of f, or, where it gives an array and `check` needs one number, of Σ w f with fixed random weights."""
    shapes = [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(function, *args))]
    if shapes in ([], [()]) or asked.get("batched"):
        return check(function, *args, seed=seed, **asked)
    print("the function gives more than one number: checked is their sum with fixed random weights\n")
    total, free, _ = weighted(function, args, seed)
    return check(total, *free, seed=seed, **asked)


# ---- what was asked for ---------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        PROGRAM, description="Check a hand-written gradient: which rule is wrong, where, and what is wrong with it.",
        epilog=EXPLAINED, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument(
        "target", metavar="module:function", help="a module or a .py file, and a name in it; alone: every rule in it"
    )
    parser.add_argument("inputs", metavar="ARGUMENT", nargs="*", help="one for each argument of the function")
    parser.add_argument("--gradient", metavar="module:name", help="the gradient written beside the function")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    parser.add_argument("--order", type=int, help="2 checks the derivative of the gradient too")
    parser.add_argument("--batched", action="store_true", help="check under jax.vmap too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the report: .png, .pdf or .svg")
    return parser


def _target(text: str, own: set[str]) -> tuple[ModuleType, str]:
    """The module, and the name in it or ""; its file is added to `own`."""
    # a path may hold a colon of its own, as on Windows: only what follows .py or a module's name is a function
    place, _, name = text.rpartition(":") if not text.endswith(".py") else (text, "", "")
    place, name = (place, name) if place else (name, "")
    path = Path(place)
    if path.suffix == ".py":
        if not path.is_file():
            raise Refused(f"there is no file {place}.")
        own.add(str(path.resolve()))
        return _from_file(path.resolve()), name
    if not all(part.isidentifier() for part in place.split(".")):
        raise Refused(f"{place!r} is neither a module nor a .py file. Example: {PROGRAM} cube.py:loss 3,4")
    try:
        spec = importlib.util.find_spec(place)
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        raise Refused(
            f"there is no module {place!r}. Give one that can be imported from here, or a path to a .py file."
        )
    own.add(spec.origin or "")
    return importlib.import_module(place), name


def _from_file(path: Path) -> ModuleType:
    # its neighbours can be imported, as when Python runs it
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    name = path.stem if path.stem not in sys.modules else f"checked_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Refused(f"{path} cannot be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up while they are made
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _found(module: ModuleType, dotted: str, own: set[str]) -> Any:
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


def _number(text: str) -> float | None:
    try:
        return float(text.split(":")[0])
    except ValueError:
        return None


def _argument(spec: str, place: int, seed: int) -> Any:
    """The array that one argument of the command line stands for."""
    if spec.endswith(".npy"):
        if not Path(spec).is_file():
            raise Refused(f"there is no file {spec}.")
        return jnp.asarray(np.load(spec, allow_pickle=False))
    body, _, kind = spec.partition(":")
    random = np.random.default_rng((seed, place))
    number = _number(body)
    if number is not None and kind == "int" and number.is_integer():
        return jnp.asarray(int(number))
    if number is not None and math.isfinite(number):
        return jnp.asarray(number, _dtype(spec, kind))
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


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
