"""`python -m fnn.checker`: check a gradient in a file, from the command line.

Promises: exit status 0 if ok, 1 if not, 2 if not understood or refused; a refusal is one sentence, and so is an error
of JAX in a line of the user's function, which is named. What the user's own code raises shows its traceback.
Refuses: pickled arrays.
"""

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from fnn.checker._check import check
from fnn.checker.every import is_class, is_rule, reports_of, rules_of, weighted
from fnn.checker.report import Report
from fnn.cli import ARGUMENTS, Refused, argument, lookup, run, target

PROGRAM = "python -m fnn.checker"
EXPLAINED = f"""\
{ARGUMENTS}

an example, where cube.py holds a function under jax.custom_vjp:
  python -m fnn.checker cube.py                    every hand-written rule of the file, on generic arguments
  python -m fnn.checker cube.py:loss 3,4 0.5       loss(x, 0.5) with a random x of shape (3, 4)
  python -m fnn.checker cube.py:loss 3,4 0.5 --gradient cube.py:loss_gradient --picture cube.png

exit status: 0 ok, 1 not ok, 2 not understood."""


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit status: 0 ok, 1 not ok, 2 not understood or refused."""
    return run(_parser(), _run, arguments)


def _run(options: argparse.Namespace, own: set[str]) -> int:
    for file in (options.json, options.picture):
        if file is not None and not file.parent.is_dir():
            raise Refused(f"{file} cannot be written: there is no folder {file.parent}.")
    module, dotted = target(options.target, own)
    asked = {name: getattr(options, name) for name in ("order", "batched", "expected", "data", "strict")}
    asked = {name: value for name, value in asked.items() if value}
    if not dotted:
        return _every(module, options, asked)
    function = lookup(module, dotted, own)
    args = tuple(argument(spec.strip(), k, options.seed) for k, spec in enumerate(options.inputs))
    gradient = None if options.gradient is None else _gradient(options.gradient, own)
    if gradient is None and not callable(function):
        raise Refused(f"{dotted} in {module.__name__} is not a function; it is {type(function).__name__}.")
    try:
        reports = _reports(dotted, function, gradient, args, {"seed": options.seed, **asked})
    except (TypeError, ValueError, IndexError) as error:
        if place := _line_in(own, error):
            raise Refused(_misfit(place, error, args)) from error
        raise
    for report in reports:
        print(report)
    worst = min(reports, key=lambda report: report.ok)
    if options.json is not None:
        options.json.write_text(worst.to_json())
    if options.picture is not None:
        worst.draw(options.picture)
    return 0 if worst.ok else 1


def _gradient(text: str, own: set[str]) -> Any:
    """The gradient written beside the function."""
    beside, name = target(text, own)
    if not name:
        raise Refused(f"--gradient needs a function, module:name, got {text!r}.")
    return lookup(beside, name, own)


def _reports(name: str, function: Any, gradient: Any, args: tuple, asked: dict[str, Any]) -> list[Report]:
    """The reports on one function or record."""
    if gradient is not None:
        return [check(function, *args, gradient=gradient, **asked)]
    if is_rule(function) or is_class(function) or not args:
        return reports_of(name, function, args or None, **asked)
    return [_summed(function, args, **asked)]


def _line_in(own: set[str], error: BaseException) -> str:
    """The user's line in which something other than their own `raise` fails; "" if there is none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]
    if not frames or (frames[-1].line or "").startswith("raise"):
        return ""
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"


def _misfit(place: str, error: BaseException, args: tuple) -> str:
    """What to say of arguments on which a line of the user's function does not run."""
    says = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    shapes = ", ".join(f"{leaf.dtype.name}{list(leaf.shape)}" for leaf in jax.tree.leaves(args))
    return (
        f"{place} does not run on these arguments ({type(error).__name__}: {says}), got {shapes}. Give shapes that fit "
        "each other; labels are whole numbers, written 6,:below3."
    )


def _every(module: ModuleType, options: argparse.Namespace, asked: dict[str, Any]) -> int:
    """Check every rule of the module, on generic inputs; a rule that is ok takes one line."""
    for value, what in (
        (options.inputs, "arguments"),
        (options.gradient, "--gradient"),
        (options.picture, "--picture"),
    ):
        if value:
            raise Refused(f"{what} belong to one function: name it, {options.target}:function.")
    rules, reports_as_data, status = rules_of(module), {}, 0
    width = max(map(len, rules))
    for name, rule in rules.items():
        try:
            reports = reports_of(name, rule, seed=options.seed, **_own(asked, name))
        except (TypeError, ValueError) as error:
            print(f"{name:<{width}}  not checked: {error}\n{'':<{width}}  Here: {PROGRAM} {options.target}:{name} …")
            status = status or 2
            continue
        reports_as_data[name] = [json.loads(report.to_json()) for report in reports]
        for report in reports:
            text = str(report)
            print(f"{name:<{width}}  {text.splitlines()[-1]}" if report.ok else f"{name}\n{text}\n")
            status = status if report.ok else 1
    if options.json is not None:
        options.json.write_text(json.dumps(reports_as_data, indent=1, ensure_ascii=False))
    return status


def _own(asked: dict[str, Any], name: str) -> dict[str, Any]:
    """The options, with only those declarations that name this rule."""
    declared = tuple(each for each in asked.get("expected", ()) if each == name)
    return {**asked, "expected": declared} if "expected" in asked else asked


def _summed(function: Callable[..., Any], args: tuple, *, seed: int, **asked: Any) -> Report:
    """The check of f, or, if it returns an array, of Σ w f with fixed random weights, since `check` needs one
    number."""
    try:
        # within a lambda: of a function written in C JAX can keep no reference
        shapes = [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(lambda *args: function(*args), *args))]
    except jax.errors.JAXTypeError:
        # it cannot be traced: `check` says so in a sentence
        shapes = []
    if shapes in ([], [()]) or asked.get("batched"):
        return check(function, *args, seed=seed, **asked)
    print("the function gives more than one number: checked is their sum with fixed random weights\n")
    total, free, _ = weighted(function, args, seed)
    return check(total, *free, seed=seed, **asked)


# ---- the options ----------------------------------------------------------------------------------------------------


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
    parser.add_argument(
        "--expected", metavar="RULE", action="append", help="a rule that differs on purpose; repeatable"
    )
    parser.add_argument(
        "--data", metavar="NAME", action="append", help="an argument of a rule that is data; repeatable"
    )
    parser.add_argument("--strict", action="store_true", help="what is right under an assumption counts as wrong")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the report: .png, .pdf or .svg")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
