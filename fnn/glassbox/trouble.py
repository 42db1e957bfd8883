"""Where did it die? The first value, or the first cotangent, that is NaN, infinite, or has underflowed to zero.

Promises: forward first, then backward, in the order of computation. Only entries that count are examined, not those
that a `jnp.where` leaves out (`fnn.glassbox.chosen`). A zero is underflow only if the operation cannot make a zero from
its inputs; masking with −∞ or with a large negative number is not underflow.
Source: claims A13, A17, C10.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fnn.glassbox.chosen import counting_cotangents, counting_values
from fnn.glassbox.records import Node, Summary
from fnn.glassbox.table import known


class Trouble(NamedTuple):
    """The first place at which numbers were lost.

    >>> trouble = fnn.graph(lambda x: jnp.log(x) * 2, -1.0).trouble
    >>> trouble.what, trouble.node.operation, trouble.backward
    ('NaN', 'log', False)
    """

    node: Node
    backward: bool
    """True if the value is fine and its cotangent is not."""
    what: str
    """"NaN", "infinite", or "underflow"."""
    inputs: tuple[Node, ...]
    """What the operation read: the node's inputs, or in the backward pass its consumers."""

    def __str__(self) -> str:
        node, place = self.node, f" ({self.node.place})" if str(self.node.place) else ""
        if self.backward:
            origins = ", ".join(f"{n.name} ({n.operation}) with cotangent {_range(n.cotangent)}" for n in self.inputs)
            return f"backward, the cotangent of {node.name}{place} {_WORDS[self.what]}, from {origins or 'the output'}."
        origins = ", ".join(f"{n.name} {_range(n.value)}" for n in self.inputs)
        made = f"`{node.operation}`{place} makes it" if node.inputs else "it was passed in that way"
        return f"forward, {node.name} {_WORDS[self.what]}: {made}{' of ' + origins if origins else ''}."


#: A constant of at most this is a mask.
MASK = -9000.0
_WORDS = {"NaN": "is NaN", "infinite": "is infinite", "underflow": "has underflowed to 0"}


class Size(NamedTuple):
    """The size of a value and of the gradient that flows back into it.

    >>> [(size.name, round(size.value, 3)) for size in fnn.graph(jnp.tanh, 1.0).sizes()]
    [('x', 1.0), ('tanh', 0.762)]
    """

    name: str
    value: float
    """Root mean square of the entries; NaN if there are none, or they are not numbers."""
    cotangent: float
    zeros: float
    """Share of entries that are exactly 0."""


def first(nodes: Sequence[Node], outputs: Iterable[int]) -> Trouble | None:
    """The first trouble of a graph, or None."""
    return _forward(nodes, outputs) or _backward(nodes)


def _forward(nodes: Sequence[Node], outputs: Iterable[int]) -> Trouble | None:
    counts, least = counting_values(nodes, outputs), _masking(nodes)
    fixed: set[int] = set()
    for node, count in zip(nodes, counts, strict=True):
        if node.operation != "argument" and all(k in fixed for k in node.inputs):
            fixed.add(node.index)
            if _one_number(node.value):
                # a number in the source, such as the NaN that marks invalid entries: if it is chosen, that shows later
                continue
        inputs = tuple(nodes[k] for k in dict.fromkeys(node.inputs))
        if what := _wrong(node.value, count, _put(node, nodes, fixed)) or (
            "underflow" if _lost(node, inputs, count, least) else ""
        ):
            return Trouble(node, False, what, tuple(n for n in inputs if n.operation != "constant"))
    return None


def _backward(nodes: Sequence[Node]) -> Trouble | None:
    counts, least = counting_cotangents(nodes), _masking(nodes)
    for node in reversed(nodes):
        count = counts[node.index]
        consumers = tuple(nodes[share.consumer] for share in node.shares)
        lost = any(_lost_back(node, nodes[share.consumer], share.bar, nodes, least) for share in node.shares)
        if what := _wrong(node.cotangent, count) or ("underflow" if lost else ""):
            return Trouble(node, True, what, consumers)
    return None


def _masking(nodes: Sequence[Node]) -> float:
    """At or below this a number is a mask: half of the smallest constant of at most −9000; −∞ if there is none.

    Attention masks with −∞, −10⁴, −10⁹ or the least number of the dtype, so that exp gives 0.
    """
    masks = [
        float(_wide(node.value).flat[0])
        for node in nodes
        if node.operation == "constant" and _numbers(node.value) and node.size == 1 and node.dtype.kind != "c"
    ]
    masks = [mask for mask in masks if np.isfinite(mask) and mask <= MASK]
    return max(masks) / 2 if masks else -np.inf


def sizes(nodes: Sequence[Node]) -> list[Size]:
    """The size of every floating value through which a gradient flows, in topological order."""
    return [
        Size(node.name, _rms(node.value), _rms(node.cotangent), _zeros(node.value))
        for node in nodes
        if node.cotangent is not None and node.operation != "constant"
    ]


def _put(node: Node, nodes: Sequence[Node], fixed: set[int]) -> Any:
    """Which entries a choice takes from numbers in the source: an infinity is there on purpose, as for a minimum."""
    if node.operation != "select_n" or isinstance(nodes[node.inputs[0]].value, Summary):
        return False
    which = np.asarray(nodes[node.inputs[0]].value).astype(int)
    return np.isin(which, [case for case, k in enumerate(node.inputs[1:]) if k in fixed])


def _wrong(value: Any, count: Any, put: Any = False) -> str:
    if isinstance(value, Summary):
        return "NaN" if value.not_finite else ""
    if value is None or not _numbers(value):
        return ""
    array = np.where(count, _wide(value), 0.0)
    if np.isnan(array).any():
        return "NaN"
    # attention masks with minus infinity: its effect on other values shows in those
    if np.iscomplexobj(array):
        return "infinite" if np.isinf(array).any() else ""
    return "infinite" if (np.isposinf(array) & ~np.asarray(put)).any() else ""


def _one_number(value: Any) -> bool:
    """True for an array of equal numbers."""
    if not _numbers(value) or not value.size:
        return False
    array = _wide(value).reshape(-1)
    return bool(np.array_equal(array, np.full_like(array, array[0]), equal_nan=True))


def _numbers(value: Any) -> bool:
    """True for floating and complex numbers of any precision."""
    kind = getattr(value, "dtype", None)
    return kind is not None and (getattr(kind, "kind", "") in ("f", "c") or str(kind).startswith(("bfloat", "float")))


def _wide(value: Any) -> np.ndarray:
    """The numbers in double precision."""
    array = np.asarray(value)
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _lost(node: Node, inputs: Sequence[Node], count: Any, least: float) -> bool:
    if not inputs or not _numbers(node.value) or not all(_numbers(n.value) for n in inputs):
        return False
    zero = (np.asarray(node.value) == 0) & count
    arrays = [_wide(n.value) for n in inputs]
    primitive = known(node.operation)
    if primitive.positive:
        return bool((zero & _unmasked(arrays[0], least)).any())
    if not primitive.product:
        return False
    read = arrays[:1] if node.operation == "div" else arrays
    might = np.logical_or.reduce([np.broadcast_to((a == 0) | ~np.isfinite(a), zero.shape) for a in read])
    if node.operation == "div":
        might = might | ~np.isfinite(np.broadcast_to(arrays[1], zero.shape))
    return bool((zero & ~might).any())


def _unmasked(array: np.ndarray, least: float) -> np.ndarray:
    return np.isfinite(array) & (np.real(array) > least)


def _lost_back(node: Node, consumer: Node, bar: Any, nodes: Sequence[Node], least: float) -> bool:
    """True if a consumer passes back 0 although its own cotangent is not 0 and its slope cannot be 0."""
    if not _numbers(bar) or not _numbers(consumer.cotangent) or np.shape(bar) != np.shape(consumer.cotangent):
        return False
    gone = (np.asarray(bar) == 0) & (np.asarray(consumer.cotangent) != 0)
    if known(consumer.operation).sloped:
        # an infinite input has slope 0
        return bool((gone & _unmasked(_wide(node.value), least)).any())
    if consumer.operation == "mul" and len(set(consumer.inputs)) == 2:
        other = nodes[next(k for k in consumer.inputs if k != node.index)]
        return _numbers(other.value) and bool((gone & (np.asarray(other.value) != 0)).any())
    return False


def _rms(value: Any) -> float:
    if isinstance(value, Summary):
        return float("nan")
    array = np.abs(_wide(value))
    return float(np.sqrt(np.mean(array * array))) if array.size else float("nan")


def _zeros(value: Any) -> float:
    if isinstance(value, Summary) or not np.size(value):
        return float("nan")
    return float(np.mean(np.asarray(value) == 0))


def _range(value: Any) -> str:
    if isinstance(value, Summary) or value is None:
        return str(value)
    array = np.asarray(value)
    if array.size == 1:
        return f"{array.reshape(())[()]:.4g}"
    if array.dtype.kind == "c":
        return f"up to {float(np.max(np.abs(array), initial=0)):.4g} in size"
    return f"from {float(np.min(array)):.4g} to {float(np.max(array)):.4g}" if array.size else "of size 0"
