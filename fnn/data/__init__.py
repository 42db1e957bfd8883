"""Small data that comes with the package, files of data, how to split data, and how to look it over."""

from fnn.checks import validate
from fnn.data.idx import mnist, read_idx
from fnn.data.small import digits, stratified_split, xor

__all__ = ["digits", "mnist", "read_idx", "stratified_split", "validate", "xor"]
