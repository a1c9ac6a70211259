"""The conjugate gradient method for a damped symmetric matrix of which only products are known."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

CONVERGED = 1e-10  # of the squared norm of the right side


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], right: Tensor, iterations: int, damping: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve (F + lambda I) x = right approximately (Hestenes and Stiefel 1952).

    Args:
        product: F v of a vector v; F is symmetric and positive semi-definite.
        right: [P].
        iterations: the most products.
        damping: lambda in units of F's curvature along `right`, right^T F right / right^T right, so that it means the
            same whatever the scale of a model's parameters.
    Returns:
        x [P]; its curvature x^T F x, without the damping; and the norm of the residual relative to that of `right`.
    """
    x, residual, direction = right.new_zeros(right.shape), right.clone(), right.clone()
    square = start = right @ right
    shift = right.new_zeros(())
    for iteration in range(iterations):
        along = product(direction)
        if iteration == 0:
            shift = damping * (direction @ along) / square
        along += shift * direction
        length = square / (direction @ along)
        x += length * direction
        residual -= length * along
        previous, square = square, residual @ residual
        if square.item() < CONVERGED * start.item():
            break
        direction = residual + square / previous * direction
    return x, x @ (right - residual) - shift * (x @ x), (square / start).sqrt()
