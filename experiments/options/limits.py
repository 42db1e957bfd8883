"""What an option must be: messages that say what must hold and what was given."""

from typing import Any


def require(holds: bool, option: str, value: Any, condition: str) -> None:
    """Raise `ValueError` unless it holds."""
    if not holds:
        raise ValueError(f"{option} must be {condition}, got {value}.")


def require_seed(seed: int) -> None:
    """Raise `ValueError` unless keys can be made of the seed and of those that follow it."""
    # a key takes 32 bits; the seeds that follow the first one need room above it
    require(0 <= seed < 2**31, "--seed", seed, "0 to 2147483647")
