"""The records of the glass box: a node for each value, and what flowed through it."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.jaxprs import NOWHERE, Place
from fnn.types import PyTree

#: Values with more entries than this are summarized, not kept: sixteen of them take a gigabyte in float64.
LARGEST = 8_000_000


class Summary(NamedTuple):
    """The range of a value that is too large to keep.

    >>> print(fnn.glassbox.Summary(least=-1.0, largest=2.0, norm=30.0, not_finite=0))
    from -1 to 2, norm 30
    """

    least: float
    largest: float
    norm: float
    """Root of the sum of squares."""
    not_finite: int
    """How many entries are NaN or infinite."""

    def __str__(self) -> str:
        return f"from {self.least:.4g} to {self.largest:.4g}, norm {self.norm:.4g}"


class Share(NamedTuple):
    """What one consumer of a value passes back to it.

    >>> box = fnn.graph(lambda x: x * x + x, 3.0)
    >>> [(box.nodes[share.consumer].operation, float(share.bar)) for share in box.nodes[0].shares]
    [('add', 1.0), ('mul', 3.0), ('mul', 3.0)]
    """

    consumer: int
    """The node that used the value."""
    bar: Any
    """Its contribution to the cotangent, with the shape of the value."""


@dataclass(frozen=True, eq=False)
class Node:
    """A value of a program: where it comes from, what it is, and what flows back into it.

    >>> node = fnn.graph(jnp.tanh, 0.0).nodes[-1]
    >>> node.operation, node.shape, float(node.value), float(node.cotangent)
    ('tanh', (), 0.0, 1.0)
    """

    index: int
    """Its position in `Graph.nodes`, which is a topological order."""
    name: str
    operation: str
    """The primitive that made it; "argument" or "constant" if no operation made it."""
    inputs: tuple[int, ...]
    """The nodes that the operation reads, in order."""
    shape: tuple[int, ...]
    dtype: np.dtype
    value: Any
    """The number(s): an array, a `Summary` if there are more than `LARGEST` entries, or a key."""
    cotangent: Any = None
    """The derivative of the output with respect to this value, with its shape; None if nothing flows back."""
    shares: tuple[Share, ...] = ()
    """The contributions of the consumers; their sum is the cotangent."""
    residuals: tuple[int, ...] = ()
    """The nodes whose values its backward rule reads."""
    params: dict[str, Any] = field(default_factory=dict)
    """The parameters of the primitive."""
    calls: tuple[str, ...] = ()
    """The nested calls and named scopes around it, outermost first."""
    place: Place = NOWHERE
    """The source line that made it."""
    operations: int = 0
    """How many arithmetic operations the forward step takes."""
    operations_back: int = 0
    """How many arithmetic operations its backward rule takes."""

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """The size of the value in bytes."""
        return self.size * getattr(self.dtype, "itemsize", 0)

    @property
    def source(self) -> bool:
        """True for arguments and constants."""
        return self.operation in ("argument", "constant")

    def __repr__(self) -> str:
        return f"Node({self.index}: {self.name} = {self.operation}, {self.dtype}{list(self.shape)})"


@dataclass(frozen=True, eq=False)
class Record:
    """Forward and backward of one function on one set of arguments, as plain data."""

    name: str
    """The function's name."""
    nodes: tuple[Node, ...]
    """In topological order: every node comes after those that it reads."""
    outputs: tuple[int, ...]
    """The nodes at which the backward pass began."""
    gradients: tuple[PyTree, ...]
    """One entry per argument, each with the structure of its argument; None for leaves without a derivative."""
    notes: tuple[str, ...] = ()
    """What a reader should know about how the function was read."""

    @property
    def value(self) -> Any:
        """The output."""
        values = [self.nodes[k].value for k in self.outputs]
        return values[0] if len(values) == 1 else tuple(values)

    def __getitem__(self, name: str) -> Node:
        """The node with that name. Raises a `KeyError` that lists the names."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes if node.operation != "constant")
        raise KeyError(
            f"no value is called {name!r}. Known: {known}. Name one with fnn.glassbox.name(value, {name!r})."
        )

    def cotangent(self, name: str) -> Any:
        """The derivative of the output with respect to the value with that name; zeros if nothing flows back."""
        node = self[name]
        if node.cotangent is None and jnp.issubdtype(node.dtype, jnp.floating):
            return np.zeros(node.shape, node.dtype)
        return node.cotangent

    def consumers(self, index: int) -> tuple[int, ...]:
        """The nodes that read this one."""
        return tuple(node.index for node in self.nodes if index in node.inputs)
