"""Data: small sets that come with the package, IDX files, splitting, and checking values before training."""

from fnn.checks import validate
from fnn.data.idx import mnist, read_idx
from fnn.data.small import digits, stratified_split, xor

__all__ = ["digits", "mnist", "read_idx", "stratified_split", "validate", "xor"]
