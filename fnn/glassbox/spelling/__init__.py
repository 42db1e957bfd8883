"""How one operation is written, in Python and in LaTeX: the words from which the records of primitives choose."""
