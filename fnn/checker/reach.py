"""Which arguments reach which rules inside a function, unchanged or at all, and what stops or uses up a derivative.

Promises: read only from the trace; nothing runs. For a loop with unknown parts, any input may reach any rule.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import jaxprs
from fnn.checker.oracles import is_float, pullback
from fnn.checker.pairs import OfEquation
from fnn.checker.points import kind_of
from fnn.checker.rules import Rule
from fnn.checker.witnesses import DOES_NOT_RUN
from fnn.types import PyTree


def used(program: Any) -> dict[int, tuple[bool, ...]]:
    """For each equation with a rule, which of its inputs (literals left out) depend on what is differentiated."""
    found: dict[int, tuple[bool, ...]] = {}

    def walk(jaxpr: Any, flags: list[bool]) -> list[bool]:
        inner = jaxprs.bare(jaxpr)
        known: dict[Any, bool] = dict.fromkeys(inner.constvars, False)
        known.update(zip(inner.invars, flags, strict=True))

        def depends(atom: Any) -> bool:
            return not jaxprs.is_literal(atom) and known[atom] and _has_derivative(atom)

        for equation in inner.eqns:
            inputs = [depends(atom) for atom in equation.invars]
            outputs = _passed(equation, inputs, walk, found, back=False)
            known.update(zip(equation.outvars, outputs, strict=True))
        return [depends(atom) for atom in inner.outvars]

    walk(program, [True] * len(jaxprs.bare(program).invars))
    return found


def _has_derivative(atom: Any) -> bool:
    """True for what is floating or complex."""
    return jnp.issubdtype(getattr(atom.aval, "dtype", np.bool_), np.inexact)


#: From a jaxpr and the flags of its inputs (or, on the way back, of its outputs) to those of the other side.
Walk = Callable[[Any, list[bool]], list[bool]]


def _passed(equation: Any, flags: list[bool], walk: Walk, found: dict[int, Any], *, back: bool) -> list[bool]:
    """The flags beyond an equation, from its inputs to its outputs or back; those of a rule are added to what is
    found."""
    name, beyond = equation.primitive.name, equation.invars if back else equation.outvars
    if name in jaxprs.CUSTOM:
        literal = [not back and jaxprs.is_literal(atom) for atom in (equation.outvars if back else equation.invars)]
        own = [flag for flag, out in zip(flags, literal, strict=True) if not out]
        before = found.get(id(equation), (False,) * len(own))
        found[id(equation)] = tuple(a or b for a, b in zip(before, own, strict=True))
    elif name == "stop_gradient":
        return [False] * len(beyond)
    elif (body := jaxprs.body_of(equation)) is not None:
        return walk(body, flags)
    elif name == "cond":
        # the first input chooses the branch
        branches = [walk(jaxprs.closed(each), flags if back else flags[1:]) for each in equation.params["branches"]]
        merged = [any(each) for each in zip(*branches, strict=True)]
        return [False, *merged] if back else merged
    elif name == "scan":
        return _through_scan(jaxprs.Scan.of(equation), flags, walk, back=back)
    else:
        for inner in jaxprs.inside(equation):
            # in other loops any input may reach any rule
            walk(inner, [any(flags)] * len(inner.jaxpr.outvars if back else inner.jaxpr.invars))
    return [any(flags)] * len(beyond)


def _through_scan(scan: jaxprs.Scan, flags: list[bool], walk: Walk, *, back: bool) -> list[bool]:
    """The flags beyond a scan: its carry is walked through until it no longer grows."""
    held, carry, rest = ([], flags[: scan.carried], flags[scan.carried :]) if back else scan.split(flags)
    while True:
        out = walk(scan.body, [*held, *carry, *rest])
        first, into, last = scan.split(out) if back else ([], out[: scan.carried], out[scan.carried :])
        grown = [a or b for a, b in zip(carry, into, strict=True)]
        if grown == carry:
            return [*first, *carry, *last]
        carry = grown


def wanted(program: Any) -> dict[int, tuple[bool, ...]]:
    """For each equation with a rule, on which of its outputs the results depend, with a derivative."""
    found: dict[int, tuple[bool, ...]] = {}

    def walk(jaxpr: Any, flags: list[bool]) -> list[bool]:
        inner = jaxprs.bare(jaxpr)
        live = {atom for atom, flag in zip(inner.outvars, flags, strict=True) if flag and not jaxprs.is_literal(atom)}
        for equation in reversed(inner.eqns):
            outputs = [out in live and _has_derivative(out) for out in equation.outvars]
            flagged = zip(equation.invars, _passed(equation, outputs, walk, found, back=True), strict=True)
            live |= {atom for atom, flag in flagged if flag and not jaxprs.is_literal(atom)}
        return [atom in live for atom in inner.invars]

    walk(program, [True] * len(jaxprs.bare(program).outvars))
    return found


def straight(program: Any, args: tuple) -> dict[int, tuple[str, ...]]:
    """For each equation with a rule, which arguments of the check its inputs are, unchanged; "" for others."""
    names = [f"argument {path[0].idx}{jax.tree_util.keystr(path[1:])}" for path, _ in _paths(args)]
    found: dict[int, tuple[str, ...]] = {}

    def walk(jaxpr: Any, inputs: list[str]) -> list[str]:
        inner = jaxprs.bare(jaxpr)
        known: dict[Any, str] = dict(zip(inner.invars, inputs, strict=True))

        def name(atom: Any) -> str:
            return "" if jaxprs.is_literal(atom) else known.get(atom, "")

        for equation in inner.eqns:
            if equation.primitive.name in jaxprs.CUSTOM:
                found[id(equation)] = tuple(name(a) for a in equation.invars if not jaxprs.is_literal(a))
            elif equation.primitive.name == "convert_element_type":
                known[equation.outvars[0]] = name(equation.invars[0])
            elif (body := jaxprs.body_of(equation)) is not None:
                known.update(zip(equation.outvars, walk(body, list(map(name, equation.invars))), strict=True))
        return [name(atom) for atom in inner.outvars]

    walk(program, names)
    return found


def _paths(tree: PyTree) -> list[tuple[tuple, Any]]:
    return jax.tree_util.tree_leaves_with_path(tree)


def with_blanks(equation: Any, rule: Rule, x64: bool) -> Rule:
    """The rule of a loss, with the inputs for which it returns nothing or zeros; the first is never one of them.

    Nothing (None) says that an input is data. Zeros may be a mistake: they say so only for an input that looks like
    data.
    """
    is_loss = len(equation.outvars) == 1 and equation.outvars[0].aval.shape == ()
    pair, straight = rule.pair.real, rule.straight
    if not is_loss or not any(straight) or not isinstance(pair, OfEquation) or pair.forward_mode:
        return rule
    shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in rule.inputs]
    try:
        with jax.enable_x64(x64):
            program = jax.make_jaxpr(lambda *inputs: pair.derived(inputs, (), (jnp.ones(()),))[1])(*shapes)
    except DOES_NOT_RUN:
        return rule
    floats = [k for k, leaf in enumerate(shapes) if is_float(leaf) and k not in pair.held]
    outputs = dict(zip(floats, program.jaxpr.outvars, strict=True))
    zeros = [k for k in floats[1:] if straight[k] and _zero_of(program.jaxpr, outputs[k]) is not None]
    blank = {
        k: straight[k] for k in zeros
        if _is_made_by_jax(_zero_of(program.jaxpr, outputs[k])) or kind_of(rule.inputs[k]) is not None
    }  # fmt: skip
    return replace(rule, blank=blank, zeroed=frozenset(zeros) - frozenset(blank))


def _zero_of(jaxpr: Any, atom: Any) -> Any:
    """The equation or literal that writes zeros explicitly, without computing them; None otherwise."""
    if jaxprs.is_literal(atom):
        return None if np.any(np.asarray(atom.val)) else atom
    for equation in jaxpr.eqns:
        if atom in equation.outvars:
            if (body := jaxprs.body_of(equation)) is not None:
                inner = _zero_of(body.jaxpr, body.jaxpr.outvars[equation.outvars.index(atom)])
                return None if inner is None else equation
            passes = equation.primitive.name in ("broadcast_in_dim", "convert_element_type")
            return equation if passes and _zero_of(jaxpr, equation.invars[0]) is not None else None
    return None


def _is_made_by_jax(zero: Any) -> bool:
    """True if zeros stand for None: written not by a line of a rule, but by JAX at the end of the backward pass."""
    traceback = getattr(getattr(zero, "source_info", None), "traceback", None)
    for frame in getattr(traceback, "frames", ()):
        if frame.file_name == pullback.__code__.co_filename:
            return True
        if jaxprs.is_own(frame.file_name) and not jaxprs.is_installed(frame.file_name):
            return False
    return False


def stopped(program: Any) -> list[str]:
    """Where a function stops a gradient; JAX functions that do so inside, such as softmax, do not count."""
    stops = filter(jaxprs.is_stopped_by_user, jaxprs.equations(program))
    return list(dict.fromkeys(str(jaxprs.place_of(each, installed=False) or "in a library") for each in stops))


def used_up(program: Any) -> list[str]:
    """The lines of hand-written rules that a `jax.grad` inside the function runs: nothing of these is left to judge."""
    places: dict[str, None] = {}

    def walk(jaxpr: Any) -> None:
        for equation in jaxprs.bare(jaxpr).eqns:
            if equation.primitive.name in jaxprs.CUSTOM:
                continue
            frames = list(getattr(equation.source_info.traceback, "frames", ()))
            runs = [k for k, frame in enumerate(frames) if frame.function_name in ("_flatten_fwd", "_flatten_jvp")]
            # what that calls, past the wrappers of JAX
            own = [frame for frame in frames[: min(runs, default=0)] if jaxprs.is_own(frame.file_name)]
            if own:
                name = own[-1].function_name.rpartition(".")[2]
                places[f"{name}, {Path(own[-1].file_name).name}:{own[-1].line_num}"] = None
            for inner in jaxprs.inside(equation):
                walk(inner)

    walk(program)
    return list(places)


def maps(program: Any) -> dict[int, dict[str, int]]:
    """For each equation with a rule, the axes of the maps over devices around it, with their sizes."""
    found: dict[int, dict[str, int]] = {}

    def walk(jaxpr: Any, around: dict[str, int]) -> None:
        for equation in jaxprs.bare(jaxpr).eqns:
            if equation.primitive.name in jaxprs.CUSTOM:
                found[id(equation)] = around
            here = dict(equation.params["mesh"].shape) if equation.primitive.name == "shard_map" else {}
            for inner in jaxprs.inside(equation):
                walk(inner, around | here)

    walk(program, {})
    return found
