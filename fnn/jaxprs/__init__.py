"""Reading jaxprs: what JAX traced of a function, for the checker, the glass box, training and the tests.

Promises: the only reader of jaxprs, using only public JAX names. `parts` holds the table of calls and loops; `places`
tells which line an equation comes from; `evaluation` runs a jaxpr with hooks that see every equation at any depth;
`double` makes the same function in float64; `text` writes what a function computes, the same in any process.
Letters: values are the arrays that a jaxpr runs on, atoms its variables and literals.
"""

from fnn.jaxprs.double import AS_CAPTURED, Narrow, Traced, coarseness, doubled, narrow_in, narrowest_in, rounded_by
from fnn.jaxprs.evaluation import AS_IT_IS, Hooks, alone, apply, bind, evaluate, primal, replaced
from fnn.jaxprs.parts import (
    CALLS,
    CUSTOM,
    Asked,
    Scan,
    Values,
    While,
    asked_for,
    axes_of,
    bare,
    body_of,
    closed,
    compared_with,
    equations,
    inside,
    is_literal,
    largest,
    value_of,
)
from fnn.jaxprs.places import (
    NOWHERE,
    Place,
    callers_of,
    derivative_of,
    is_installed,
    is_own,
    is_sampler,
    is_stopped_by_user,
    line_of,
    name_of,
    place_of,
    places_of,
    source_of,
)
from fnn.jaxprs.text import fingerprint, fingerprint_of, lines_of

__all__ = [
    "AS_CAPTURED", "AS_IT_IS", "CALLS", "CUSTOM", "NOWHERE", "Asked", "Hooks", "Narrow", "Place", "Scan", "Traced",
    "Values", "While", "alone", "apply", "asked_for", "axes_of", "bare", "bind", "body_of", "callers_of", "closed",
    "coarseness", "compared_with", "derivative_of", "doubled", "equations", "evaluate", "fingerprint",
    "fingerprint_of", "inside", "is_installed", "is_literal", "is_own", "is_sampler", "is_stopped_by_user", "largest",
    "line_of", "lines_of", "name_of", "narrow_in", "narrowest_in", "place_of", "places_of", "primal", "replaced",
    "rounded_by", "source_of", "value_of",
]  # fmt: skip
