"""The JAX releases that compute wrong sums, and the warning that importing `fnn` on one of them gives.

In JAX 0.10.2 and 0.11.x on CPU with two or more threads, sums over an explicitly broadcast array are wrong and differ
from run to run (upstream: tensorflow 126812, openxla/xla 49085, jax 39741). 0.10.1 and 0.12.0.1 are right.
Promises: only the version is read. No device is touched; otherwise `jax.distributed.initialize` would fail later.
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
    """Give a `RuntimeWarning` with the remedy if this version of JAX is affected."""
    if is_affected(version):
        warnings.warn(
            f"JAX {version} computes wrong sums on CPU, and so wrong gradients. "
            "Install another release with pip install 'jax>=0.10.1,!=0.10.2,!=0.11.*'.",
            RuntimeWarning,
            stacklevel=3,
        )
