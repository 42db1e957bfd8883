"""Estimators with the interface of scikit-learn, for pipelines and searches; needs the extra `fnn[estimators]`.

Promises: what stands in `__all__`; nothing else here is public. `import fnn` never loads this room.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        'fnn.estimators needs scikit-learn, which is not installed. Install it with pip install "fnn[estimators]".'
    ) from error

from fnn.estimators._mlp import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
