"""Formulas that work on any arrays that broadcast: NumPy, tensors, xarray."""

from __future__ import annotations


def effective_smoothness(grad_change, step_lengths, step_size, grad_norm):
    """beta = |g(W - c step_size g) - g(W)| / (c step_size |g|), for every length c (Figure 4c).

    Works on anything that broadcasts: NumPy arrays, tensors, xarray. Units: 1 / step size;
    gradient descent on a quadratic is stable up to a curvature of 2 / step_size.

        >>> effective_smoothness(grad_change=6.0, step_lengths=2.0, step_size=0.25, grad_norm=6.0)  # w^2, from 3 to 0
        2.0
    """
    return grad_change / (step_lengths * step_size * grad_norm)
