"""Estimators with scikit-learn's interface, for pipelines and searches; they need the extra `fnn[estimators]`.

Promises: only the names in `__all__` are public. `import fnn` never loads this package.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        'fnn.estimators needs scikit-learn, which is not installed. Install it with pip install "fnn[estimators]".'
    ) from error

from fnn.estimators._mlp import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
