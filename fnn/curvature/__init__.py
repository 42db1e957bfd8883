"""Second derivatives and per-example gradients by hand."""

from fnn.curvature.products import (
    fisher_vector_product,
    gauss_newton_vector_product,
    hessian_vector_product,
)

__all__ = ["fisher_vector_product", "gauss_newton_vector_product", "hessian_vector_product"]
