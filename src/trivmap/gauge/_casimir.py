"""Casimirs."""

from fractions import Fraction


def casimir(n: int) -> Fraction:
    r"""The quadratic Casimir of the fundamental representation, exactly: $\sum_a T_a T_a = -C_F$ with
    $\mathrm{tr}\, T_a T_b = -\delta_{ab}/2$.

    $C_F = (n^2 - 1)/(2 n)$, and one for U(1), n = 1, whose only generator is i. A loop that meets every link at most once
    has $\sum_a \partial_a \partial_a \mathrm{tr}\, W = -C_F \cdot \text{length} \cdot \mathrm{tr}\, W$.

        >>> tm.gauge.casimir(3)
    """
    return Fraction(n * n - 1, 2 * n) if n > 1 else Fraction(1)
