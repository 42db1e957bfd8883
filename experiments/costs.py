"""What a compiled program costs: operations as XLA counts them, and seconds.

Promises: counts are the same on every run; XLA keeps them as float32 and counts the body of a loop once. Times are the
fastest of several, since whatever disturbs a run makes it longer.
"""

import time
from typing import Any

import jax


def operations(program: Any) -> float:
    """Floating-point operations of a compiled program."""
    analysis = program.cost_analysis()
    # older releases give a list with one entry per device
    return (analysis[0] if isinstance(analysis, list) else analysis)["flops"]


def seconds(program: Any, arguments: tuple[Any, ...], repeats: int) -> float:
    """The fastest of so many runs, each of enough calls for the clock."""
    result, fastest, calls = jax.block_until_ready(program(*arguments)), float("inf"), 1
    for _ in range(repeats):
        while True:
            start = time.perf_counter()
            for _ in range(calls):
                result = program(*arguments)
            jax.block_until_ready(result)
            spent = time.perf_counter() - start
            # three milliseconds are tens of thousands of ticks of the clock
            if spent > 3e-3:
                break
            calls *= 4
        fastest = min(fastest, spent / calls)
        # one run is enough of what takes so long
        if fastest > 0.3:
            break
    return fastest
