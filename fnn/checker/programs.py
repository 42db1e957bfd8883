"""What is compiled for the rules, kept for later checks: the witnesses of each pair, for each set of dtypes.

Promises: equal records share their witnesses within one `Programs`; functions that compute the same, backward too,
share theirs in the whole process, so a closure that is made again compiles nothing.
"""

from collections import OrderedDict
from typing import Any

from fnn.checker.host import HostWitnesses
from fnn.checker.pairs import OfGradient, Pair, Second
from fnn.checker.rules import Rule
from fnn.checker.witnesses import Witnesses


class Programs:
    """The compiled witnesses of many rules, to be reused by later checks: `fnn.check(…, programs=programs)`.

    Rules that are equal records share their programs. Do not change a rule in place between checks.

    >>> kept = fnn.checker.Programs()
    >>> net = fnn.mlp(2, 2)
    >>> by_hand, params = fnn.backprop(net, fnn.squared_error), net.init(jax.random.key(0))
    >>> fnn.check(by_hand, params, jnp.ones((3, 2)), jnp.zeros((3, 2)), programs=kept).ok
    True
    >>> fnn.check(by_hand, params, jnp.zeros((3, 2)), jnp.ones((3, 2)), programs=kept).ok  # compiles nothing
    True
    """

    def __init__(self) -> None:
        self._known: dict[Any, Witnesses] = {}

    def fork(self) -> "Programs":
        """Programs that start with all those known here and keep new ones to themselves."""
        other = Programs()
        other._known.update(self._known)
        return other

    def of(self, rule: Rule, pair: Pair, x64: bool) -> Witnesses:
        """The witnesses of a pair, for the inputs of this rule.

        Args:
            rule: the rule.
            pair: the rule's own, or another derivative of the same function.
            x64: whether the user runs in JAX's 64-bit mode.
        """
        known = pair, rule.dtypes, x64
        try:
            store = _SHARED if _is_text(pair) else self._known
            if known not in store:
                store[known] = _witnesses(pair, rule.dtypes, x64)
        except TypeError:
            # a user's record that cannot be hashed: it compiles again each time
            return _witnesses(pair, rule.dtypes, x64)
        if store is _SHARED:
            _SHARED.move_to_end(known)
            while len(_SHARED) > MOST:
                _SHARED.popitem(last=False)
        return store[known]


#: Witnesses of functions, identified by all that they compute and so shared by every check of this process.
_SHARED: OrderedDict[Any, Witnesses] = OrderedDict()
#: How many of these are kept.
MOST = 128


def _is_text(pair: Pair) -> bool:
    """True for a pair of functions that is identified by what it computes."""
    pair = pair.first if isinstance(pair, Second) else pair
    return isinstance(getattr(pair, "key", None), str)


def _witnesses(pair: Pair, dtypes: tuple, x64: bool) -> Witnesses:
    if isinstance(pair, OfGradient) and (pair.function_on_host or pair.gradient_on_host):
        return HostWitnesses(pair, dtypes, x64)
    return Witnesses(pair, dtypes, x64)
