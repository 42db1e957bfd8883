"""Letters for axes, as `einsum` writes products, and raised digits.

Promises: plain text from plain numbers.
"""

import string
from typing import Any

_RAISED = str.maketrans("-−0123456789", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def raised(exponent: Any) -> str:
    """The number as an exponent: ⁻³."""
    return str(exponent).translate(_RAISED)


def letters(dimension_numbers, a_ndim: int, b_ndim: int) -> tuple[str, str, str]:
    """One letter per axis of a, of b, and of the product: batch axes, then those of a, then those of b."""
    (a_contracted, b_contracted), (a_batch, b_batch) = dimension_numbers
    fresh = iter(string.ascii_letters)
    a, b = [next(fresh) for _ in range(a_ndim)], [""] * b_ndim
    for of_a, of_b in (*zip(a_contracted, b_contracted, strict=True), *zip(a_batch, b_batch, strict=True)):
        b[of_b] = a[of_a]
    b = [letter or next(fresh) for letter in b]
    y = [a[axis] for axis in a_batch]
    y += [letter for axis, letter in enumerate(a) if axis not in (*a_contracted, *a_batch)]
    y += [letter for axis, letter in enumerate(b) if axis not in (*b_contracted, *b_batch)]
    return "".join(a), "".join(b), "".join(y)


def renamed(formula: str) -> str:
    """The letters renamed in order of appearance, from a on."""
    fresh: dict[str, str] = {}
    for letter in formula:
        if letter.isalpha() and letter not in fresh:
            fresh[letter] = string.ascii_letters[len(fresh)]
    return "".join(fresh.get(letter, letter) for letter in formula)
