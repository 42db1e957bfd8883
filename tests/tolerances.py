"""Every tolerance of the tests, with its reason. No test states one of its own."""

import numpy as np

# By hand against automatic, float64, per leaf in the largest entry: the two sum the same terms in another order.
# A net here has at most some 10³ terms a sum, and √10³ · eps ≈ 7e-15; 1e-12 leaves a factor of 100, and any wrong rule
# is off by far more.
LEAF = 1e-12
# Matrices of condition 100 taken apart, and their derivatives: four digits are lost by products with inverses.
FACTORED = 1e-10

# By hand against automatic, float64, per entry: |hand − auto| ≤ ENTRY · eps · (the backward pass on absolute values).
# 64 is about the number of roundings on the longest path through the deepest net of the table (4 layers of a product,
# a sum, an activation and its derivative, forward and back), each of which may add eps of the magnitude. Calibrated
# once over the case table, by hand and automatic compiled apart: the largest ratio found was 0.63, so 64 stands with
# room for other compilers. A plain relative bound per entry would cry wolf: entries of correct rules that cancel
# differ by up to 5e-9 of themselves.
ENTRY = 64

# float32 against the float64 truth on the same rounded inputs: err(hand) ≤ RATIO · err(auto) + ULPS ulp of the leaf's
# largest entry. 4 and 4: the two take different roundings, and none may be systematically worse.
RATIO, ULPS = 4, 4

# Forward passes against NumPy in float64: a chain of up to 4 matrix products and a log-sum-exp.
FORWARD = {"float64": 1e-13, "float32": 4e-6, "bfloat16": 4e-2}

# Central differences against a gradient in float64: the step 2 ε^(1/3) x_c leaves a relative truncation of about
# ε^(2/3) = 4e-11 times the third derivative's size; 1e-6 of the leaf's largest entry holds for every net of the table.
DIFFERENCES = 1e-6
# In float32 ε^(2/3) is 2e-5; a value of about 2.3 and a factor of 10 for the entries that are smaller than the scale.
DIFFERENCES_FLOAT32 = 5e-4

# Numbers that a lecture prints with k digits agree to half a unit of the last.
PRINTED = {2: 5e-3, 4: 5e-5}

# Moments of 10⁶ samples: the standard error of a variance is √(2/10⁶) = 1.4e-3 of it for a normal; five of them.
MOMENTS = 7e-3

# A wrong reading of a formula must be off by far more than rounding, else it would prove nothing: one part in a
# hundred is 2500 times the FORWARD tolerance of float32.
FAR = 1e-2

# Text on its ground: WCAG 2.2, success criterion 1.4.3, asks for this much at least.
CONTRAST = 4.5
# Integrals by a fixed rule: Gauss-Legendre over each smooth half of a normal is exact to rounding, the midpoint rule of
# the Bayes risk errs by the square of its cells, 1e-3, at the kink; a wrong integrand is off by a hundredth and more.
QUADRATURE = 1e-5


def five_standard_errors(share, count) -> float:
    """How far a share among `count` independent draws may lie off: beyond it once in two million."""
    return 5 * np.sqrt(share * (1 - share) / count)


def smallest_normal(dtype) -> float:
    """Subnormals are flushed to zero on CPU: below the smallest normal number nothing can be asked for."""
    return float(np.finfo(dtype).tiny)


# Two minimizers that both stop at a gradient of 1e-11 and below: the values differ by its square over the smallest
# curvature that counts, 1e-4 here, and so by 1e-18; what is left is how flat the valley is along the others.
OPTIMUM = 1e-8

# Weights after 50 steps beside scikit-learn's, which sums the same terms in another order: rounding of float32, some
# hundred eps; one convention that is not kept (ε after the bias correction, α per row) moves them by 1e-2 and more.
ESTIMATOR = 1e-5
