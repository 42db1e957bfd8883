"""Second derivatives, and gradients of single examples, by the rules of this package.

Promises: only the names in `__all__` are public. Every product is composed of the rules in activations, losses,
regularizers and layers, as back-propagation is; `jax.jvp` differentiates only the rules of a layer of your own that
does not define `forward_tangent` and `backward_tangent`.
"""

from fnn.curvature.kronecker import KroneckerFactors, kronecker_factors, kronecker_solve
from fnn.curvature.least_squares import LeastSquaresFit, levenberg_marquardt
from fnn.curvature.matrices import diagonal, layer_matrices, matrix
from fnn.curvature.natural import NaturalGradientState, natural_gradient
from fnn.curvature.per_example import GradientNoise, clipped_sum, example_gradients, gradient_noise
from fnn.curvature.products import (
    Product,
    fisher_vector_product,
    gauss_newton_vector_product,
    hessian_vector_product,
)
from fnn.curvature.spectrum import (
    Density,
    LargestEigenvalue,
    certain_bound,
    largest_eigenvalue,
    missed_share,
    spectrum_density,
)

__all__ = [
    "Density",
    "GradientNoise",
    "KroneckerFactors",
    "LargestEigenvalue",
    "LeastSquaresFit",
    "NaturalGradientState",
    "Product",
    "certain_bound",
    "clipped_sum",
    "diagonal",
    "example_gradients",
    "fisher_vector_product",
    "gauss_newton_vector_product",
    "gradient_noise",
    "hessian_vector_product",
    "kronecker_factors",
    "kronecker_solve",
    "largest_eigenvalue",
    "layer_matrices",
    "levenberg_marquardt",
    "matrix",
    "missed_share",
    "natural_gradient",
    "spectrum_density",
]
