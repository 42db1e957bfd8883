"""Difference quotients with self-estimated error bars, and kinks: only arithmetic on values.

Promises: among several steps, the one with the smallest error bar counts; a kink is where the slopes from the two sides
stay apart as the step shrinks, and neither changes.
Letters: h the step, φ the change of a value along it.
Sources: Ridders 1982; Press et al., Numerical Recipes, section 5.7 (steps and extrapolation); Moré & Wild 2011 (noise).
"""

from typing import Any, NamedTuple

import numpy as np

from fnn.checker.oracles import floats_of

#: Steps as shares of an entry's scale. Richardson's error is of the order h⁴, the rounding ε / h: in float64 the first
#: step is best for smooth functions, the last ones fit between an entry and a nearby kink.
STEPS = np.array([1e-3, 1e-4, 1e-5, 1e-6])
#: Steps for a value that is itself noisy, for instance computed in float32: smaller steps see only the noise.
WIDE = np.array([1e-1, 3e-2, 1e-2, 3e-3])
#: The spacing and number of the values that the noise is estimated from: for a smooth function the fourth differences
#: are of the order of the spacing to the fourth power.
SPACING, VALUES = 1e-5, 7


class Quotients(NamedTuple):
    """What differences say about some entries."""

    slope: np.ndarray
    uncertainty: np.ndarray
    left: np.ndarray
    right: np.ndarray
    kink: np.ndarray
    """True where the left and right slopes stay apart as the step shrinks."""

    @classmethod
    def of(cls, phi: np.ndarray, h: np.ndarray, weight: float, noise: float = 0.0) -> "Quotients":
        """From the changes of a value to its slopes.

        Args:
            phi: for each entry and each of its steps h, the changes along h, −h, h/2, −h/2.
            h: the steps: (entries, `STEPS`).
            weight: the size of the terms that the value is a sum of.
            noise: the noise of the value, beyond the rounding of that sum.
        """
        up, down, half_up, half_down = np.moveaxis(phi, -1, 0)
        slopes, errors = _extrapolated(up, down, half_up, half_down, h, weight)
        errors = errors + 4 * noise / h
        rights, lefts = half_up / (h / 2), -half_down / (h / 2)
        best = np.argmin(np.where(np.isfinite(errors), errors, np.inf), axis=1)
        rows = np.arange(len(h))
        # what is lost inside when large numbers cancel shows at the smallest step
        lost = np.abs(slopes[:, -1] - slopes[rows, best]) * h[:, -1] / h[rows, best]
        errors[rows, best] += np.where(np.isfinite(lost), lost, 0)
        left, right = lefts[:, -1], rights[:, -1]
        if noise:
            # wide steps may reach across a kink: they then contradict each other by more than the noise
            apart = np.abs(slopes - slopes[rows, best][:, None]) - 2 * errors
            errors[rows, best] += np.fmax(np.max(np.where(np.isfinite(apart), apart, 0), axis=1), 0)
            # the slopes from both sides are known up to the noise and the step
            room = 0.02 * (np.abs(left) + np.abs(right)) + 8 * noise / h[:, -1]
            way = np.where(right >= left, 1, -1)
            left, right = left - way * room, right + way * room
        # for a smooth function the two slopes approach each other as the step shrinks; across a kink they do not
        gaps = np.abs(rights - lefts)
        size = np.abs(rights[:, -1]) + np.abs(lefts[:, -1])
        kink = (gaps[:, -1] > 0.5 * gaps[:, 1]) & (gaps[:, -1] > 1e-4 * size)
        # and each of them stays where it is; slopes that only rounding keeps apart do not
        steady = np.maximum(np.abs(rights[:, -1] - rights[:, 1]), np.abs(lefts[:, -1] - lefts[:, 1]))
        kink &= (steady < 0.25 * gaps[:, -1]) & (gaps[:, -1] > 40 * noise / h[:, -1])
        return cls(slopes[rows, best], errors[rows, best], left, right, kink)

    def possible(self, values: np.ndarray, room: Any = 0.0) -> np.ndarray:
        """True on a kink with a value between the slopes from both sides."""
        low, high = np.minimum(self.left, self.right), np.maximum(self.left, self.right)
        # the one-sided slopes are known up to the step, 1e-6 of their size and of the curvature: three digits are safe
        slack = 1e-3 * (np.abs(low) + np.abs(high)) + room
        return self.kink & (values >= low - slack) & (values <= high + slack)


def _extrapolated(up: Any, down: Any, half_up: Any, half_down: Any, h: Any, weight: Any) -> tuple[Any, Any]:
    """Richardson's extrapolation from the steps h and h / 2, and by how much it may be off."""
    coarse, fine = (up - down) / (2 * h), (half_up - half_down) / h
    slopes = (4 * fine - coarse) / 3
    return slopes, np.abs(slopes - fine) + 4 * np.finfo(np.float64).eps * weight / h


def noise_of(lines: np.ndarray) -> np.ndarray:
    """The noise of values at equal spacing: for each line from the fourth differences, then the median over the lines.

    Independent noise of variance σ² gives them the variance 70 σ² (Moré & Wild 2011).

    Args:
        lines: (lines, `VALUES`, …), each line elsewhere, so that a kink on one of them has no effect.
    """
    fourth = np.diff(np.asarray(lines, np.float64), 4, axis=1)
    return np.median(np.sqrt(np.mean(fourth**2, axis=1) / 70), axis=0)


def stands_still(lines: np.ndarray) -> bool:
    """True where most of the small steps along lines change nothing."""
    return bool(np.mean(np.diff(lines, axis=1) == 0) >= 0.5)


def moves_steadily(lines: np.ndarray) -> bool:
    """True where most wide steps along lines change something: there is no plateau."""
    return bool(np.mean(np.diff(lines, axis=1) != 0) >= 0.6)


def scales_of(inputs: tuple) -> np.ndarray:
    """The characteristic size of each entry of the vector of all floating inputs."""
    leaves = [np.asarray(leaf, np.float64) for leaf in floats_of(inputs)[0]]
    return np.concatenate([np.zeros(0), *(np.maximum(np.abs(leaf), size_of(leaf)).ravel() for leaf in leaves)])


def size_of(value: Any) -> float:
    """The characteristic size of a leaf: its root mean square, or 1 if all of it is 0."""
    value = np.asarray(value, np.float64)
    return float(np.sqrt(np.mean(np.square(value)))) or 1.0 if value.size else 1.0
