"""The local rules of the glass box: one small function per primitive, by family, to be read like a formula sheet.

A rule is `rule(y_bar, y, *inputs, **params) -> one contribution per input`: from the cotangent of the output(s) of a
primitive, the output(s), its inputs and its parameters. None stands for an input without a derivative. For a primitive
with several outputs, y_bar and y are lists. The first comment of each rule is the forward line that it differentiates.
The records of the primitives (`fnn.glassbox.table`) are at the end of each file.
"""

from fnn.glassbox.rules import (
    arithmetic,
    complexes,
    elementary,
    flat,
    indexing,
    linalg,
    loops,
    order,
    products,
    reductions,
    shapes,
    special,
    transforms,
    windows,
)

__all__ = [
    "arithmetic", "complexes", "elementary", "flat", "indexing", "linalg", "loops", "order", "products", "reductions",
    "shapes", "special", "transforms", "windows",
]  # fmt: skip
