"""Where a rule is tried: at random numbers of its shapes, at the arguments of a real run, and at small moves around
them.

Promises: generic inputs come from several ranges, so that no coincidence in one hides a mistake; only those count at
which the function has a value. Data keep their kind if a rule is right only for that kind, and the report says so.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checker.oracles import is_float
from fnn.checker.programs import Programs
from fnn.checker.rules import Point, Rule
from fnn.checker.witnesses import DOES_NOT_RUN, Witnesses
from fnn.jaxprs import Asked
from fnn.types import PyTree, is_key

#: How many labels of an example are tried.
EVERY_CLASS = 12
#: Numbers of this size with which a rule compares: what lies beyond smaller ones is tried anyway, and beyond larger
#: ones, as of a mask, functions overflow.
NEAREST, FURTHEST = 1, 32


@dataclass
class Settings:
    """What holds for a whole check: compiled programs, the seed, the user's settings, and what was examined."""

    seed: int = 0
    batched: bool = False
    programs: Programs = field(default_factory=Programs)
    counts: dict[str, int] = field(default_factory=dict)
    x64: bool = False
    """Whether the user runs in JAX's 64-bit mode."""
    notes: dict[str, None] = field(default_factory=dict)
    """What the reader should know, each sentence once."""

    def count(self, what: str, number: int) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    def witnesses(self, rule: Rule) -> Witnesses:
        """The witnesses of this rule."""
        return self.programs.of(rule, rule.pair, self.x64)

    def working(self, rule: Rule) -> Witnesses:
        """The witnesses of this rule as in the user's own run."""
        return self.programs.of(rule, rule.pair.real, self.x64)


def points(rule: Rule, settings: Settings, generic: bool, recorded: bool) -> Iterator[Point]:
    """The rule on generic inputs, small ones if possible, and at the point of the real run."""
    known = recorded and is_known(rule)
    if known and rule.whole:
        # the user's own numbers first
        yield at(rule, settings)
    if generic:
        yield from generic_points(rule.small or rule, settings)
    if known and not rule.whole:
        yield at(rule, settings)


def is_known(rule: Rule) -> bool:
    """True if the values of the real run are known, and not only their shapes."""
    return all(hasattr(leaf, "__array__") or is_key(leaf) for leaf in jax.tree.leaves(rule.inputs))


def at(rule: Rule, settings: Settings, *, generic: bool = False, seed: int | None = None) -> Point:
    """The rule at its inputs, with a random cotangent, or 1 for the whole gradient."""
    inputs, data = cast((rule.inputs, rule.data), np.float64)
    if not generic:
        inputs, data = jax.tree_util.tree_map_with_path(partial(_exact_sums, rule), (inputs, data))
    random = np.random.default_rng((settings.seed if seed is None else seed) + 1)

    def cotangent(leaf: Any) -> Any:
        return np.asarray(np.ones(leaf.shape) if rule.whole else random.normal(0.3, 1, leaf.shape), leaf.dtype)

    y_bar = jax.tree.map(cotangent, settings.witnesses(rule).output(inputs, data))
    if rule.muted and len(rule.idle) < len(y_bar):
        y_bar = tuple(np.zeros_like(bar) if k in rule.idle else bar for k, bar in enumerate(y_bar))
    return Point(rule, inputs, data, y_bar, generic)


def generic_points(rule: Rule, settings: Settings, kinds: "dict[int, Kind] | None" = None) -> Iterator[Point]:
    """The rule on random numbers of its shapes.

    Normal numbers; their mirror image, so that a unit that is off at one is on at the other; fresh ones further out;
    and some from (0, 1), as for probabilities: only those if the others give no finite value, and small moves around
    the real run if these give none either. A rule that compares with numbers, as min(x, 6) does, is tried beyond them
    too. If the data hold labels, other labels are tried too, so that each example
    has every class once (up to EVERY_CLASS).

    Args:
        rule: the rule.
        settings: of the check.
        kinds: the kinds of the leaves of (inputs, data) that keep theirs, by number.
    """
    if any(isinstance(leaf, jax.ShapeDtypeStruct) and not is_float(leaf) for leaf in jax.tree.leaves(rule.inputs)):
        return
    if rule.iterates:
        yield from near(rule, settings)
        return
    random = np.random.default_rng(settings.seed)
    leaves = jax.tree.leaves((rule.inputs, rule.data if rule.loose else ()))
    normal, far = ([random.normal(0.1, 1, np.shape(leaf)) for leaf in leaves] for _ in range(2))
    inside, other = ([random.uniform(0.1, 0.9, np.shape(leaf)) for leaf in leaves] for _ in range(2))
    anywhere = [normal, [-n for n in normal], [3 * n for n in far], inside]
    within = [inside, [1 - n for n in inside], other]
    for draws in (anywhere, within):
        shifts = [0] * len(draws) + list(range(1, min(rule.classes, EVERY_CLASS)))
        usable = []
        for k, shift in enumerate(shifts):
            numbers = list(draws[k] if k < len(draws) else inside)
            for number, kind in (kinds or {}).items():
                numbers[number] = kind.draw(random, np.shape(leaves[number]))
            point = at(_drawn(rule, numbers, shift), settings, generic=True, seed=settings.seed + k)
            if (finite := _is_finite(point, settings)) is None:
                # it does not run at all: the judge will say so
                yield point
                return
            if finite:
                usable.append(point)
        if usable:
            yield from usable
            if draws is anywhere:
                yield from _beyond(rule, normal, settings, kinds or {})
            return
    yield from near(rule, settings)


def _beyond(rule: Rule, normal: list[np.ndarray], settings: Settings, kinds: "dict[int, Kind]") -> Iterator[Point]:
    """The rule on numbers half of which lie beyond those with which it compares, on either side."""
    captured = [rule.inputs[k] for k in rule.fixed if is_float(rule.inputs[k]) and np.ndim(rule.inputs[k]) == 0]
    compared = settings.witnesses(rule).compared_with.union(map(float, captured))
    steps = sorted({abs(number) for number in compared if NEAREST <= abs(number) <= FURTHEST})
    random = np.random.default_rng(settings.seed + 7)
    for sign in (1, -1) if steps else ():
        numbers = []
        for number, leaf in enumerate(normal):
            beyond = np.array(random.random(leaf.shape) < 0.5)
            beyond.flat[:1] = True
            far = sign * random.choice(steps, leaf.shape) * random.uniform(2, 3, leaf.shape)
            far = np.where(beyond, far, leaf)
            numbers.append(kinds[number].draw(random, leaf.shape) if number in kinds else far)
        if (point := usable(rule, numbers, settings)) is not None:
            # what was computed there is kept
            yield dataclasses.replace(point, far=True)


@dataclass(frozen=True)
class Others:
    """A rule on other whole numbers, or other booleans, than those of the run."""

    point: Point
    paths: tuple[tuple, ...]
    """Of the leaves of (inputs, data) that are others."""
    booleans: bool
    scalars: bool
    """True for single numbers, such as a flag, a length or a power."""


def with_others(rule: Rule, settings: Settings) -> Iterator[Others]:
    """The rule with other booleans, and with other whole numbers, among its inputs, where there are any.

    Of booleans that are all alike one is turned. Whole numbers are drawn from the range of those of the run, some of
    them numbers beyond it that the rule asks for, as of examples to leave out. A single flag is turned, a single whole
    number changed by 1. What a rule captured stays.
    """
    if not is_known(rule) or rule.iterates:
        return
    random = np.random.default_rng(settings.seed + 8)
    asked = settings.witnesses(rule).asked_for
    tree = (rule.inputs, rule.data if rule.loose else ())
    for booleans, scalars in itertools.product((True, False), repeat=2):
        changed = {}
        for number, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(tree)):
            captured = path[0].idx == 0 and path[1].idx in rule.fixed
            if captured or not hasattr(leaf, "dtype") or is_key(leaf) or scalars != (not np.ndim(leaf)):
                continue
            value = np.asarray(leaf)
            other = _turned(value, random) if booleans else _redrawn(value, random, _about(asked, number))
            if other is not None:
                changed[path] = other
        inputs, data = jax.tree_util.tree_map_with_path(lambda path, leaf, c=changed: c.get(path, leaf), tree)
        for low, high in ((-2.0, 2.0), (0.1, 0.9)) if changed else ():
            numbers = [random.uniform(low, high, np.shape(leaf)) for leaf in jax.tree.leaves(tree)]
            point = at(
                _drawn(_placed(rule, inputs, data if rule.loose else rule.data), numbers, 0), settings, generic=True
            )
            if _is_finite(point, settings):
                yield Others(point, tuple(changed), booleans, scalars)
                break


def _turned(value: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
    """Booleans of which one is not as all others, or the other of one; None for anything else. A row of one entry is
    not left without."""
    if value.dtype == bool and not value.ndim:
        return ~value
    if value.dtype != bool or not value.ndim or value.shape[-1] < 2 or not value.size or value.any() != value.all():
        return None
    turned = value.copy()
    turned.flat[random.integers(value.size)] ^= True
    return turned


def _about(asked: frozenset[Asked], number: int) -> list[Asked]:
    """What is asked about one leaf; a negative number may be asked for among what is computed from any."""
    return sorted(
        (each for each in asked if each.source == number or (each.number < 0 and each.how in ("eq", "ne"))),
        key=lambda each: (each.number, each.how),
    )


def _marks(asked: list[Asked], low: int, high: int) -> list[int]:
    """Numbers beyond a range, the nearest, at which a question is answered differently than within."""
    marks = set()
    for _, how, number in asked:
        if how in ("eq", "ne"):
            marks.add(number)
        elif number <= low:
            marks.add(number if how in ("gt", "le") and number < low else number - 1)
        elif number >= high:
            marks.add(number if how in ("lt", "ge") and number > high else number + 1)
    return sorted(mark for mark in marks if not low <= mark <= high)


def _redrawn(value: np.ndarray, random: np.random.Generator, asked: list[Asked]) -> np.ndarray | None:
    """Other whole numbers of the same range, one of them twice, or a neighbour of one; None for anything else."""
    if np.issubdtype(value.dtype, np.integer) and not value.ndim:
        # the smaller, for an index or a length has no place beyond
        return np.asarray(value - 1 if value > 0 else value + 1, value.dtype)
    if not np.issubdtype(value.dtype, np.integer) or value.size < 2:
        return None
    least, most = int(value.min()), int(value.max())
    low, high = least, most
    if low == high:
        low, high = (low - 1, high) if low > 0 else (low, high + 1)
    drawn = random.integers(low, high, value.shape, endpoint=True).astype(value.dtype)
    drawn.flat[-1] = drawn.flat[0]
    room = np.iinfo(value.dtype)
    marks = [mark for mark in _marks(asked, least, most) if room.min <= mark <= room.max]
    # the first number and the last stay equal, if there is room
    for place, mark in zip([value.size // 2, *range(1, value.size - 1)], dict.fromkeys(marks), strict=False):
        drawn.flat[place] = mark
    return drawn


def near(rule: Rule, settings: Settings, *, symmetric: bool = False) -> Iterator[Point]:
    """The rule at small moves around the point of the real run, for a function that has no value anywhere else.

    Args:
        rule: the rule.
        settings: of the check.
        symmetric: True for moves that keep a symmetric matrix symmetric.
    """
    if not is_known(rule):
        return
    random = np.random.default_rng(settings.seed + 6)

    def moved(leaf: Any, by: float) -> Any:
        if not is_float(leaf) or not np.size(leaf):
            return leaf
        value = np.asarray(leaf, np.float64)
        size = float(np.sqrt(np.mean(value**2))) or 1.0
        other = value * (1 + by * random.uniform(-1, 1, value.shape)) + np.where(value == 0, by * size, 0)
        return (other + other.T) / 2 if symmetric and is_symmetric(leaf) else other

    for k, by in enumerate((0.03, 0.1, 0.3)):
        # captured values stay, because the rule knows them
        inputs = tuple(
            leaf if n in rule.fixed else jax.tree.map(partial(moved, by=by), leaf) for n, leaf in enumerate(rule.inputs)
        )
        data = jax.tree.map(partial(moved, by=by), rule.data) if rule.loose else rule.data
        point = at(_placed(rule, inputs, data), settings, generic=True, seed=settings.seed + k)
        if _is_finite(point, settings) is not False:
            yield point


def is_symmetric(leaf: Any) -> bool:
    """True for a symmetric matrix of more than one entry."""
    value = np.asarray(leaf)
    return value.ndim == 2 and value.shape[0] == value.shape[1] > 1 and bool((value == value.T).all())


def _drawn(rule: Rule, numbers: list[np.ndarray], shift: int) -> Rule:
    """The rule with these numbers as its floating inputs, and other labels in its data."""
    leaves, tree = jax.tree.flatten(rule.inputs)
    count = len(leaves)

    def draw(number: np.ndarray, leaf: Any) -> Any:
        return number if is_float(leaf) else leaf

    # only the rule of an equation captures anything, and its inputs are one leaf each
    inputs = tree.unflatten(
        leaf if k in rule.fixed else draw(number, leaf)
        for k, (number, leaf) in enumerate(zip(numbers[:count], leaves, strict=True))
    )
    data = jax.tree.map(partial(_next_label, by=shift, classes=rule.classes), rule.data)
    if rule.loose:
        rest, structure = jax.tree.flatten(data)
        data = structure.unflatten(map(draw, numbers[count:], rest))
    return _placed(rule, inputs, data)


def usable(rule: Rule, numbers: list[np.ndarray], settings: Settings) -> Point | None:
    """The rule at these numbers; None if it has no finite value there."""
    point = at(_drawn(rule, numbers, 0), settings, generic=True)
    return point if _is_finite(point, settings) else None


def _placed(rule: Rule, inputs: tuple, data: tuple) -> Rule:
    return dataclasses.replace(rule, inputs=inputs, data=data, small=None, own_dtypes=rule.dtypes)


def _is_finite(point: Point, settings: Settings) -> bool | None:
    """Whether the function has a finite value there; None if it or its rule does not run."""
    try:
        output = settings.witnesses(point.rule).compare(point).output
    except DOES_NOT_RUN:
        return None
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(output))


def _next_label(leaf: Any, by: int, classes: int) -> Any:
    integer = classes and jnp.issubdtype(jnp.result_type(leaf), jnp.integer)
    return (leaf + by) % classes if integer else leaf


def _exact_sums(rule: Rule, path: tuple, leaf: Any) -> Any:
    """Data with rows that sum to 1 up to the rounding of a narrower dtype, changed so that they do in float64."""
    if not is_data(rule, path) or not is_float(leaf):
        return leaf
    kind = kind_of(leaf)
    return leaf / leaf.sum(-1, keepdims=True) if kind is not None and kind.name == "sums to 1" else leaf


def is_data(rule: Rule, path: tuple) -> bool:
    """True for a leaf of (inputs, data) that nothing is differentiated with respect to, or that is named as data."""
    if path[0].idx == 1:
        return rule.loose
    return path[1].idx in rule.optional | rule.named_data | frozenset(rule.blank)


def cast(tree: PyTree, dtype: Any) -> PyTree:
    """The tree with its floating leaves in this dtype, on the host: a cast there compiles nothing."""
    return jax.tree.map(lambda leaf: np.asarray(leaf).astype(dtype) if is_float(leaf) else leaf, tree)


# ---- data of a kind -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """What the data of a run are, and others of the same kind."""

    name: str
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def kind_of(leaf: Any) -> Kind | None:
    """The kind of an array of data, if it is one that a rule may rely on: rows that sum to 1, one-hot rows, masks of 0
    and 1.

    Nothing else counts: zeros, ones, constants, whole numbers, the identity and equal rows are just as likely a
    coincidence.
    """
    value = np.asarray(leaf, np.float64)
    if not value.size or not np.isfinite(value).all() or _is_coincidence(value):
        return None
    binary = bool(np.isin(value, (0, 1)).all())
    if value.ndim and value.shape[-1] > 1 and np.abs(value.sum(-1) - 1).max() < 1e-5 and value.min() >= 0:
        classes = value.shape[-1]
        if binary:
            return Kind("is one-hot", lambda random, shape: np.eye(classes)[random.integers(0, classes, shape[:-1])])
        return Kind("sums to 1", lambda random, shape: random.dirichlet(np.ones(shape[-1]), shape[:-1]))
    return Kind("is 0 or 1", _mask) if binary else None


def _is_coincidence(value: np.ndarray) -> bool:
    """True if all entries or all rows are equal, and for the identity."""
    if (value == value.flat[0]).all():
        return True
    rows = value.reshape(-1, value.shape[-1])
    if len(rows) > 1 and (rows == rows[0]).all():
        return True
    return value.ndim == 2 and value.shape[0] == value.shape[1] and bool((value == np.eye(len(value))).all())


def _mask(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    mask = (random.random(shape) < 0.6).astype(np.float64)
    # neither all on nor all off
    mask.flat[0], mask.flat[-1] = 1.0, 0.0
    return mask
