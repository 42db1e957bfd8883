"""How one operation is written, in Python and in LaTeX: the forms that the records of primitives choose from."""
