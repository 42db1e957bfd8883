"""Which JAX releases compute wrong sums, and the warning that importing `fnn` on one of them gives.

JAX 0.10.2 and 0.11.x on CPU with two threads or more: sums over an explicitly broadcast array are wrong and differ
from run to run (upstream: tensorflow 126812, openxla/xla 49085, jax 39741). 0.10.1 and 0.12.0.1 are right.
Promises: looks at the version only; no device is touched, or `jax.distributed.initialize` would fail later.
"""

import warnings


def is_affected(version: str) -> bool:
    """True for a version of JAX that computes wrong sums on CPU.

    >>> is_affected("0.10.1"), is_affected("0.10.2"), is_affected("0.11.3"), is_affected("0.12.0.1")
    (False, True, True, False)
    """
    parts = version.split(".")
    return parts[:3] == ["0", "10", "2"] or parts[:2] == ["0", "11"]


def warn_if_affected(version: str) -> None:
    """Warn with a `RuntimeWarning`, in one sentence with the remedy, if this version of JAX is affected."""
    if is_affected(version):
        warnings.warn(
            f"JAX {version} computes wrong sums on CPU, gradients included: "
            "install another release with pip install 'jax>=0.10.1,!=0.10.2,!=0.11.*'.",
            RuntimeWarning,
            stacklevel=3,
        )
