"""`python -m fnn.glassbox`: look into a function in a file, from the command line.

Promises: exit status 0 if done, 2 if not understood or refused; a refusal is one sentence; only the named files are
written.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fnn.cli import ARGUMENTS, Refused, argument, lookup, run, target
from fnn.glassbox._graph import graph
from fnn.glassbox.code import show_backward

PROGRAM = "python -m fnn.glassbox"
EXPLAINED = f"""\
{ARGUMENTS}

an example, where lecture.py holds a function e3(x, y, z):
  python -m fnn.glassbox lecture.py:e3 -2 5 -4                      as text
  python -m fnn.glassbox lecture.py:e3 -2 5 -4 --html e3.html       as a page to step through
  python -m fnn.glassbox lecture.py:e3 -2 5 -4 --code               the backward pass as Python

exit status: 0 done, 2 not understood."""


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit status: 0 done, 2 not understood or refused."""
    return run(_parser(), _run, arguments, lambda message: " Here that is --output 0." if "output=0" in message else "")


def _run(options: argparse.Namespace, own: set[str]) -> int:
    if options.fold and options.svg is None:
        raise Refused("--fold applies to the picture: give --svg FILE too. The page of --html has a button to fold.")
    for file in (options.html, options.svg):
        if file is not None and not file.parent.is_dir():
            raise Refused(f"{file} cannot be written: there is no folder {file.parent}.")
    module, dotted = target(options.target, own)
    if not dotted:
        raise Refused(f"name the function: {options.target}:function.")
    function = lookup(module, dotted, own)
    if not callable(function):
        raise Refused(f"{dotted} in {module.__name__} is not a function; it is {type(function).__name__}.")
    args = tuple(argument(each.strip(), k, options.seed) for k, each in enumerate(options.inputs))
    if options.code or options.latex:
        source = show_backward(function, *args, output=options.output)
        print(source.latex if options.latex else source.python)
        if options.html is None and options.svg is None:
            return 0
    box = graph(function, *args, output=options.output)
    if options.html is not None:
        options.html.write_text(box.html(), encoding="utf-8")
    if options.svg is not None:
        options.svg.write_text(box.svg(fold=options.fold), encoding="utf-8")
    if options.html is None and options.svg is None:
        print(box)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        PROGRAM, description="Forward and backward of a JAX function, node by node.",
        epilog=EXPLAINED, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("target", metavar="module:function", help="a module or a .py file, and a function in it")
    parser.add_argument("inputs", metavar="ARGUMENT", nargs="*", help="one for each argument of the function")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one page to step through")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the picture")
    parser.add_argument("--fold", action="store_true", help="in the picture, nested calls as one node each")
    parser.add_argument("--code", action="store_true", help="print the backward pass as Python")
    parser.add_argument("--latex", action="store_true", help="print the backward pass as LaTeX")
    parser.add_argument("--output", type=int, metavar="K", help="which output to differentiate, from 0")
    parser.add_argument("--seed", type=int, default=0, help="of random arguments (0)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
