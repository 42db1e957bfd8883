"""The looks at a wrong rule from which `diagnosis.py` says what is wrong: other cotangents, other inputs, other rules.

Promises: nothing here decides whether a rule is wrong; except for the repaired rules, every look runs a program that is
already compiled.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from fnn.checker.diagnosis import GRADIENT_OF, Diagnosis, Look, diagnose
from fnn.checker.oracles import is_float
from fnn.checker.points import Settings
from fnn.checker.promises import COARSE, argument_of
from fnn.checker.rules import Point
from fnn.checker.witnesses import DOES_NOT_RUN, shaped
from fnn.types import PyTree


def explained(point: Point, path: tuple, settings: Settings) -> Diagnosis:
    """What is wrong with this leaf of the rule's gradient."""
    first = _look(point, path, settings)
    random = np.random.default_rng(settings.seed + 4)
    places: list[Point] = []
    if not point.rule.whole:
        turned = jax.tree.map(lambda leaf: random.normal(-0.4, 1, leaf.shape).astype(leaf.dtype), point.y_bar)
        places.append(point.moved(y_bar=turned))
    inputs, y_bar = _elsewhere(point, random)
    places += [point.moved(inputs=inputs, y_bar=y_bar), point.moved(inputs=inputs)]
    if point.generic and not point.rule.iterates:
        # what is off at one is on at the other
        mirrored = _changed(point, lambda leaf: -leaf)
        places.append(point.moved(inputs=mirrored))
    looks = [_look(place, path, settings) for place in places]
    cotangent = None if point.rule.whole else looks[0]
    moved = looks[-2] if point.generic and not point.rule.iterates else looks[-1]
    others = [look for look in looks if look is not moved and np.isfinite(look.truth).all()]
    diagnosis = diagnose(first, others, _sizes(point), cotangent, moved)
    if diagnosis.kind == "mask":
        # once more, only for places: this needs another look
        diagnosis = diagnose(first, others, _sizes(point), cotangent, moved, _varied(point, path, settings))
    if diagnosis.kind == "pattern":
        pairs = zip((point, *places), (first, *looks), strict=True)
        finite = [(place, look) for place, look in pairs if look is first or np.isfinite(look.truth).all()]
        diagnosis = _left_out(finite, path, settings) or diagnosis
    if diagnosis.kind == "nonzero":
        # the sums of what must be 0 say nothing more
        return diagnosis
    return diagnosis._replace(message=diagnosis.message + _identity(point, path, first, settings))


#: What a rule may compute with in place of an argument, and what is wrong then.
IN_PLACE: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "all ones": ("missing derivative", np.ones_like),
    "all zeros": ("missing derivative", np.zeros_like),
    "transposed": ("transposed", np.transpose),
}
#: How many arguments beside the one in question are tried.
BESIDE = 6


def _left_out(looks: list[tuple[Point, Look]], path: tuple, settings: Settings) -> Diagnosis | None:
    """What is right, in every look, for another value of one argument: ones for a gain that the rule forgets."""
    point = looks[0][0]
    rule = point.rule
    around = jax.tree_util.tree_leaves_with_path((point.inputs, point.data if rule.loose else ()))
    beside = [
        (at, np.shape(leaf)) for at, leaf in around
        if is_float(leaf) and np.size(leaf) > 1 and (at[0].idx or (at[1:] != path and at[1].idx not in rule.fixed))
    ]  # fmt: skip
    for at, shape in beside[:BESIDE]:
        name = _named(point, at[1:]) if at[0].idx else argument_of(rule, at[1:])
        for what, (kind, change) in IN_PLACE.items():
            if kind == "transposed" and shape != shape[::-1]:
                continue
            if all(_is_right_with(place, look, path, at, change, settings) for place, look in looks):
                missing = "a transpose is missing, or one too many" if kind == "transposed" else "it is left out"
                says = f"it is the derivative that holds where {name} is {what}: {missing}"
                return Diagnosis(says, True, kind)
    return None


def _is_right_with(
    place: Point, look: Look, path: tuple, at: tuple, change: Callable[[np.ndarray], np.ndarray], settings: Settings
) -> bool:
    """True if the gradient by hand of one leaf is the true one for another value of a second leaf, of the inputs or of
    the data."""
    inputs, data = _with((place.inputs, place.data), at, change)
    try:
        _, truth, _, _ = _sides(place.moved(inputs=inputs, data=data), path, settings)
    except DOES_NOT_RUN:
        return False
    return bool(np.isfinite(truth).all()) and look.same(look.hand, truth)


def _with(inputs: tuple, path: tuple, change: Callable[[np.ndarray], np.ndarray]) -> tuple:
    """The inputs, with one leaf changed."""
    return jax.tree_util.tree_map_with_path(lambda at, leaf: change(np.asarray(leaf)) if at == path else leaf, inputs)


def _elsewhere(point: Point, random: np.random.Generator) -> tuple[tuple, PyTree]:
    """Other inputs and another cotangent: fresh ones for a generic point, near ones for the user's point."""

    def other(leaf: Any) -> Any:
        if point.generic and not point.rule.iterates and (np.asarray(leaf) < 0).any():
            return random.normal(0.1, 1, leaf.shape)
        # generic inputs of one sign were drawn that way because the function has no value elsewhere
        return leaf * (1 + 0.1 * random.uniform(-1, 1, leaf.shape))

    inputs = _changed(point, other)
    if point.rule.whole:
        return inputs, point.y_bar
    return inputs, jax.tree.map(lambda leaf: random.normal(0.3, 1, leaf.shape), point.y_bar)


def _changed(point: Point, change: Callable[[Any], Any]) -> tuple:
    """The floating inputs changed, except captured values, which the rule knows."""
    return tuple(
        leaf if k in point.rule.fixed else jax.tree.map(lambda each: change(each) if is_float(each) else each, leaf)
        for k, leaf in enumerate(point.inputs)
    )


def _identity(point: Point, path: tuple, look: Look, settings: Settings) -> str:
    """A structural identity that the gradient breaks, a witness without any derivative.

    If adding a number to a row changes no value, as in softmax cross-entropy, each row of the gradient sums to 0; and
    likewise each column, as in batch normalization. Said only if the true sums are 0 too.
    """
    hand, truth = look.hand, look.truth
    if hand.ndim == 0 or not np.isfinite(hand).all():
        return ""
    lines = {"row": -1, "column": -2} if hand.ndim > 1 else {"row": -1}
    for line, axis in lines.items():
        sums, sizes = np.abs(hand.sum(axis)), np.abs(hand).sum(axis)
        right, room = np.abs(truth.sum(axis)), look.near * np.abs(truth).sum(axis).max(initial=0)
        if hand.shape[axis] < 2 or not sums.max() > max(10 * look.near * sizes.max(), room) or not right.max() <= room:
            continue
        if _is_shiftable(point, path, axis, settings):
            return f"; its {line}s must sum to 0, for a number added to a {line} changes no value"
    return ""


def _is_shiftable(point: Point, path: tuple, axis: int, settings: Settings) -> bool:
    """True if a number added to one line of a leaf, the first or the last, changes no value."""

    def shifted(by: float, place: int) -> tuple:
        def moved(leaf: np.ndarray) -> np.ndarray:
            # every line is a column of this copy
            lines = np.moveaxis(np.asarray(leaf, np.float64), axis, 0)
            columns = np.array(lines.reshape(len(lines), -1))
            columns[:, place] += by
            return np.moveaxis(columns.reshape(lines.shape), 0, axis)

        return _with(point.inputs, path, moved)

    witnesses = settings.witnesses(point.rule)
    values = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(witnesses.value(inputs, point.data))])
        for inputs in (point.inputs, shifted(0.7, 0), shifted(-1.3, -1))
    ]
    size = np.abs(values[0]).max(initial=0)
    return all(np.abs(each - values[0]).max(initial=0) <= 1e-12 * size for each in values[1:])


def _look(point: Point, path: tuple, settings: Settings) -> Look:
    witnesses = settings.witnesses(point.rule)
    compared = witnesses.compare(point)
    clues: dict[str, np.ndarray] = {}
    named = {"the cotangent of the output": point.y_bar, "the output": compared.output}
    for name, tree in named.items():
        for k, each in enumerate(v for v in jax.tree.leaves(tree) if is_float(v)):
            clues[name if k == 0 else f"{name}, part {k + 1}"] = np.asarray(each)
    clues |= _inputs_named(point)
    bars = [np.asarray(each) for each in jax.tree.leaves(point.y_bar)]
    if len(bars) == 1 and bars[0].size == 1 and not point.rule.whole:
        # a rule with one number: what should be times its cotangent is so in every look
        clues |= {f"{name} times the cotangent": clue * bars[0].ravel()[0] for name, clue in clues.items()}
    right = dict(jax.tree_util.tree_leaves_with_path(compared.auto))[path]
    for other, truth in jax.tree_util.tree_leaves_with_path(compared.auto):
        if other != path and np.shape(truth) == np.shape(right):
            clues[f"{GRADIENT_OF} {argument_of(point.rule, other)}"] = np.asarray(truth)
    clues |= _of_data(point, np.shape(right), settings)
    alone = bars[0] if len(bars) == 1 and not point.rule.whole else None
    hand, truth, noise, known = _sides(point, path, settings)
    return Look(hand, truth, clues, _tries(point, path, settings), alone, noise, known)


def _sides(point: Point, path: tuple, settings: Settings) -> tuple[np.ndarray, np.ndarray, float, np.ndarray | None]:
    """(by hand, truth, noise, known) of one leaf, as in `Look`; where the truth is unknown it is as by hand."""
    witnesses = settings.witnesses(point.rule)
    compared = witnesses.compare(point)
    noise, known = COARSE * witnesses.coarse, None
    hand, truth = _leaf(compared.hand, path), _leaf(compared.auto, path)
    if compared.uncertainty is not None and compared.kinks is not None:
        room = 20 * _leaf(shaped(compared.uncertainty, point.inputs), path)
        kinks = _leaf(shaped(compared.kinks, point.inputs), path)
        size = np.abs(truth[(kinks == 0) & np.isfinite(room)]).max(initial=0)
        # entries that differences cannot tell to a few percent, as at a kink, say nothing about the others
        known = (kinks == 0) & (room <= UNCERTAIN * size)
        if (np.abs(truth) <= room).all() and np.abs(hand).max(initial=0) > np.max(room, initial=0) and not kinks.any():
            # differences tell that the truth is 0, and nothing finer
            known, size, truth = np.ones(truth.shape, bool), np.abs(hand).max(initial=0), 0 * truth
        noise = max(noise, float(room[known].max(initial=0) / max(size, 1e-300)))
        truth = np.where(known, truth, hand)
    return hand, truth, noise, known


def _leaf(tree: PyTree, path: tuple) -> np.ndarray:
    return np.asarray(dict(jax.tree_util.tree_leaves_with_path(tree))[path], np.float64)


#: An entry is known if differences determine it to this share of the largest.
UNCERTAIN = 0.05


def _inputs_named(point: Point) -> dict[str, np.ndarray]:
    """The inputs and data by name: for a separate gradient, by the names of its arguments."""
    rule, clues = point.rule, {}
    leaves = [(path, v) for path, v in jax.tree_util.tree_leaves_with_path(point.inputs) if is_float(v)]
    for k, (path, value) in enumerate(leaves):
        alone = k == 0 and (len(leaves) == 1 or not rule.loose)
        clues["the input" if alone else argument_of(rule, path)] = np.asarray(value)
    data = [(path, v) for path, v in jax.tree_util.tree_leaves_with_path(point.data) if is_float(v)]
    for k, (path, value) in enumerate(data):
        name = "the target or data" if k == 0 else f"the target or data, part {k + 1}"
        if rule.loose:
            name = _named(point, path)
        clues[name] = np.asarray(value)
    return clues


def _named(point: Point, path: tuple) -> str:
    """Data of a function with a separate gradient, by its position among the arguments."""
    return f"argument {path[0].idx + len(point.inputs)}{jax.tree_util.keystr(path[1:])}"


def _of_data(point: Point, shape: tuple[int, ...], settings: Settings) -> dict[str, np.ndarray]:
    """The right gradients of the other arguments of a function, which a separate gradient may return in place of its
    own."""
    leaves = jax.tree_util.tree_leaves_with_path(point.data)
    if not point.rule.loose or not any(is_float(value) and np.shape(value) == shape for _, value in leaves):
        return {}
    gradients = jax.tree_util.tree_leaves_with_path(settings.witnesses(point.rule).gradients_of_data(point))
    return {f"{GRADIENT_OF} {_named(point, path)}": np.asarray(g) for path, g in gradients if np.shape(g) == shape}


def _varied(point: Point, path: tuple, settings: Settings) -> list[Look] | None:
    """Looks at fresh inputs and data; an empty tuple if the function has no value there, None if the others are
    fresh."""
    if point.generic and not point.rule.loose:
        return None
    random = np.random.default_rng(settings.seed + 9)
    signed = any((np.asarray(leaf) < 0).any() for leaf in jax.tree.leaves(point.inputs) if is_float(leaf))

    def fresh(leaf: Any) -> Any:
        if not is_float(leaf):
            return leaf
        return random.normal(0.1, 1, leaf.shape) if signed else random.uniform(0.1, 0.9, leaf.shape)

    data = jax.tree.map(fresh, point.data) if point.rule.loose else point.data
    try:
        look = _look(point.moved(inputs=_changed(point, fresh), data=data), path, settings)
    except DOES_NOT_RUN:
        return []
    return [look] if np.isfinite(look.truth).all() and np.isfinite(look.hand).all() else []


def _tries(point: Point, path: tuple, settings: Settings) -> dict[str, np.ndarray]:
    """The gradients of changed rules: if one is right, it says what is wrong."""
    tries = {}
    for what, repaired in point.rule.pair.repairs().items():
        try:
            place = point.inputs, point.data, point.y_bar
            tries[what] = _leaf(settings.programs.of(point.rule, repaired, settings.x64).by_hand(*place)[1], path)
        except DOES_NOT_RUN:
            # this rule keeps something of another structure: nothing to learn here
            continue
    compared = settings.witnesses(point.rule).compare(point)
    (output, *more), inputs = jax.tree.leaves(compared.output), jax.tree.leaves(point.inputs)
    if not more and len(inputs) == 1 and np.shape(inputs[0]) == np.shape(output) and not point.rule.iterates:
        at_output = jax.tree.unflatten(jax.tree.structure(point.inputs), [np.asarray(output, np.float64)])
        tries["misplaced"] = _leaf(settings.witnesses(point.rule).compare(point.moved(inputs=at_output)).auto, path)
    return tries


def _sizes(point: Point) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for each in jax.tree.leaves((point.inputs, point.data)):
        for axis, size in enumerate(np.shape(each)):
            sizes.setdefault("the number of rows" if axis == 0 else f"the size of axis {axis}", size)
    return sizes
