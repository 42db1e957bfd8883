"""The records of the glass box: a node for each value, and what flowed through it."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fnn.glassbox.trace.program import NOWHERE, Place

#: Values of more entries than this are summed up, not kept: sixteen of them are a gigabyte in float64.
LARGEST = 8_000_000


class Summary(NamedTuple):
    """What is kept of a value that is too large to keep.

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
    """What one consumer of a value hands back to it.

    >>> box = fnn.graph(lambda x: x * x + x, 3.0)
    >>> [(box.nodes[share.consumer].operation, float(share.bar)) for share in box.nodes[0].shares]
    [('add', 1.0), ('mul', 3.0), ('mul', 3.0)]
    """

    consumer: int
    """The node that used the value."""
    bar: Any
    """Its contribution to the cotangent, in the shape of the value."""


@dataclass(frozen=True, eq=False)
class Node:
    """A value of a program: where it comes from, what it is, and what flows back into it.

    >>> node = fnn.graph(jnp.tanh, 0.0).nodes[-1]
    >>> node.operation, node.shape, float(node.value), float(node.cotangent)
    ('tanh', (), 0.0, 1.0)
    """

    index: int
    """Its place in `Graph.nodes`, which is a topological order."""
    name: str
    operation: str
    """The primitive that made it; "argument" or "constant" for what was given."""
    inputs: tuple[int, ...]
    """The nodes that the operation reads, in its order."""
    shape: tuple[int, ...]
    dtype: np.dtype
    value: Any
    """The number(s): an array, a `Summary` of more than `LARGEST` entries, or a key."""
    cotangent: Any = None
    """The derivative of the output with respect to this value, in its shape; None where nothing flows."""
    shares: tuple[Share, ...] = ()
    """The contributions of the consumers; their sum is the cotangent."""
    kept: tuple[int, ...] = ()
    """The nodes whose values its backward rule reads."""
    params: dict[str, Any] = field(default_factory=dict)
    """The parameters of the primitive."""
    calls: tuple[str, ...] = ()
    """The nested calls and named scopes around it, the outermost first."""
    place: Place = NOWHERE
    """The line of the source that made it."""
    operations: int = 0
    """Arithmetic operations of the forward step."""
    operations_back: int = 0
    """Arithmetic operations of its backward rule."""

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of the value."""
        return self.size * getattr(self.dtype, "itemsize", 0)

    @property
    def given(self) -> bool:
        """True for arguments and constants."""
        return self.operation in ("argument", "constant")

    def __repr__(self) -> str:
        return f"Node({self.index}: {self.name} = {self.operation}, {self.dtype}{list(self.shape)})"
