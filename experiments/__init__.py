"""The experiments of this repository, run by `python -m experiments`. They use only what `fnn` exports."""
