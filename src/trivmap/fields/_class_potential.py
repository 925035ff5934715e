"""Potentials of a single plaquette: class functions of one SU(N) matrix that depend on a coupling."""

import functools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, DTypeLike, Float

from ..gauge import casimir
from ._time import chebyshev_basis

# Points per eigenphase: the integrands are trigonometric polynomials times exp(b Re tr P/N), for which the trapezoidal rule
# converges exponentially; these sizes give more than ten digits up to b = 20.
_POINTS = {2: 400, 3: 120, 4: 40, 5: 20}


class ClassPotential(eqx.Module):
    r"""A polynomial in the trace of a plaquette with coupling-dependent coefficients.

    $$\phi_b(P) = \sum_{a, c} \varphi_{ac}(b)\, (\mathrm{Re}\, w)^a (\mathrm{Im}\, w)^{2c}, \qquad w = \mathrm{tr} P/N,$$

    with `a + 2c` up to `degree` (SU(2): powers of the real trace) and Chebyshev polynomials on `[0, largest_coupling]`
    for the dependence on b. For SU(2) and SU(3) these are all class functions even under charge conjugation.

    **Arguments:** `n`: the N of SU(N); `degree`; `largest_coupling`; `order`: number of Chebyshev polynomials.
    """

    coefficients: Float[Array, "order terms"]
    n: int = eqx.field(static=True)
    degree: int = eqx.field(static=True)
    largest_coupling: float = eqx.field(static=True)

    @classmethod
    def trivializing(
        cls, n: int, largest_coupling: float, *, degree: int = 6, order: int = 8, dtype: DTypeLike | None = None
    ) -> "ClassPotential":
        r"""The trivializing potential of one plaquette with action $-b\, \mathrm{Re\,tr} P/N$.

        The flow along $-\partial \phi_b$ in the coupling b carries Haar measure to the density proportional to
        $\exp(b\, \mathrm{Re\,tr} P/N)$, which is Luescher's condition
        $(-\Delta + (\partial S_b)\cdot\partial)\,\phi_b = S_1 + C_b$ (arXiv:0907.5491), solved by weighted least squares
        on the maximal torus at Chebyshev nodes of b.

        **Raises:** `ValueError` for N above 5 (the torus has N - 1 dimensions).
        """
        if n not in _POINTS:
            raise ValueError(f"ClassPotential.trivializing: got N = {n}, expected N = 2, 3, 4 or 5.")
        nodes = np.cos(np.pi * (np.arange(order) + 0.5) / order)
        solutions = [_least_squares(n, degree, (node + 1) / 2 * largest_coupling)[0] for node in nodes]
        coefficients = np.linalg.solve(np.polynomial.chebyshev.chebvander(nodes, order - 1), np.stack(solutions))
        return cls(jnp.asarray(coefficients, dtype or jnp.zeros(0).dtype), n, degree, largest_coupling)

    def derivatives(self, b: Float[Array, ""], w: Complex[Array, "*sites"]) -> Float[Array, "5 *sites"]:
        """Derivatives of phi_b in x = Re w and y = Im w: phi_x, phi_y, phi_xx, phi_xy, phi_yy."""
        x, y = w.real, w.imag
        s = (b / self.largest_coupling).astype(x.dtype)
        coefficients = chebyshev_basis(s, self.coefficients.shape[0]) @ self.coefficients.astype(x.dtype)
        powers = {0: jnp.ones_like(x)}, {0: jnp.ones_like(y)}
        for table, value in zip(powers, (x, y), strict=True):
            for k in range(1, self.degree + 1):
                table[k] = table[k - 1] * value
        sums = [jnp.zeros_like(x) for _ in range(5)]
        for coefficient, (a, c) in zip(coefficients, monomials(self.n, self.degree), strict=True):
            for k, (da, dc) in enumerate([(1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]):
                factor = _falling(a, da) * _falling(c, dc)
                if factor:
                    sums[k] = sums[k] + factor * coefficient * powers[0][a - da] * powers[1][c - dc]
        return jnp.stack(sums)


def monomials(n: int, degree: int) -> list[tuple[int, int]]:
    """Exponents (a, 2c) of the monomials up to a degree; SU(2) has a real trace."""
    if n == 2:
        return [(a, 0) for a in range(1, degree + 1)]
    return [(total - c, c) for total in range(1, degree + 1) for c in range(0, total + 1, 2)]


def _falling(exponent: int, times: int) -> int:
    """Factor of the `times`-th derivative of a power, zero when it vanishes."""
    return int(np.prod([exponent - k for k in range(times)], initial=1)) if exponent >= times else 0


@functools.cache
def _torus(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Diagonal matrices `(n, points)` on a grid of the maximal torus, with Weyl's weight of total mass one."""
    phases = 2 * np.pi * np.arange(_POINTS[n]) / _POINTS[n]
    free = [grid.ravel() for grid in np.meshgrid(*[phases] * (n - 1), indexing="ij")]
    z = np.exp(1j * np.stack([*free, -np.sum(free, axis=0)]))
    weight = np.prod([np.abs(z[j] - z[k]) ** 2 for j in range(n) for k in range(j)], axis=0)
    return z, weight / weight.sum()


def _least_squares(n: int, degree: int, b: float) -> tuple[np.ndarray, float]:
    """Coefficients that minimise the mean square of the residual of Luescher's condition, and its root."""
    z, haar = _torus(n)
    cosines, sines = np.real(z), np.imag(z)
    x, y = cosines.mean(axis=0), sines.mean(axis=0)
    density = haar * np.exp(b * (x - 1))
    density = density / density.sum()
    # On the torus TA is diagonal, and the inner product of two of them is a sum over eigenvalues.
    real, imaginary = [-(v - v.mean(axis=0)) / (2 * n) for v in (sines, -cosines)]
    g_xx, g_xy, g_yy = [2 * np.sum(p * q, axis=0) for p, q in ((real, real), (real, imaginary), (imaginary, imaginary))]
    columns = []
    for a, c in monomials(n, degree):
        d = {
            (da, dc): _falling(a, da) * _falling(c, dc) * x ** max(a - da, 0) * y ** max(c - dc, 0)
            for da, dc in [(1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
        }
        laplacian = -float(casimir(n)) * (d[1, 0] * x + d[0, 1] * y) + d[2, 0] * g_xx + 2 * d[1, 1] * g_xy + d[0, 2] * g_yy
        columns.append(-laplacian - b * (d[1, 0] * g_xx + d[0, 1] * g_xy))
    matrix, target = np.stack(columns, axis=1), -x
    # The constant C_b absorbs the mean; centring removes it from the system.
    matrix, target = matrix - density @ matrix, target - density @ target
    root = np.sqrt(density)
    solution = np.linalg.lstsq(root[:, None] * matrix, root * target, rcond=1e-12)[0]
    return solution, float(np.sqrt(density @ (matrix @ solution - target) ** 2))


def trivializing_harmonics(b: float, size: int) -> np.ndarray:
    r"""Coefficients of sin(jP), j = 1..size, in the force that moves a U(1) plaquette from exp(b cos P) to larger b.

    The same condition as for matrices, $-\phi'' + b \sin P\, \phi' = -\cos P + C$ for $\phi = \sum_j a_j \cos jP$.
    """
    angles = 2 * np.pi * np.arange(256) / 256
    j = np.arange(1, size + 1)
    density = np.exp(b * (np.cos(angles) - 1))
    density = density / density.sum()
    sines, cosines = np.sin(angles[:, None] * j), np.cos(angles[:, None] * j)
    matrix, target = j**2 * cosines - b * np.sin(angles)[:, None] * j * sines, -np.cos(angles)
    matrix, target = matrix - density @ matrix, target - density @ target
    root = np.sqrt(density)
    a = np.linalg.lstsq(root[:, None] * matrix, root * target, rcond=1e-12)[0]
    return j * a


def flux_gate(b: float, size: int, largest: float) -> np.ndarray:
    r"""Coefficients of cos(lP), l = 1..size, in $1/\rho_b(P)$, $\rho_b \propto \exp(b \cos P)$ with mean one under itself.

    $1/\rho_b = I_0(b)^2 [1 + 2 \sum_l (-1)^l I_l(b)/I_0(b) \cos lP]$, its mean bounded by `largest`.
    """
    # Imported here: scipy.special would add a quarter to the time of `import trivmap`.
    from scipy.special import i0, ive

    order = np.arange(1, size + 1)
    return min(float(i0(b)) ** 2, largest) * 2 * (-1.0) ** order * ive(order, b) / ive(0, b)


@functools.cache
def _coupling_of_mean(largest: float) -> float:
    """b with I_0(b)^2 = `largest`, up to 12."""
    from scipy.special import i0

    couplings = np.linspace(0.0, 12.0, 2401)
    return float(np.interp(largest, i0(couplings) ** 2, couplings))


def driven_gate(b: float, beta: float, size: int, largest: float) -> np.ndarray:
    r"""`flux_gate` on the way to coupling `beta`, raised before its bound holds.

    Beyond $b_c$, $I_0(b_c)^2$ = `largest`, the bounded gate moves too little charge, and Q would stay too wide. The factor
    $1 + a / (1 + e^{(b - b_c)/0.3})$ moves more before that, $a = 0.7 (1 - e^{-(\beta - b_c)/4})$ for $\beta > b_c$, else 0.
    """
    bound = _coupling_of_mean(largest)
    # From scans at beta = 3, 4, 5, 7 on 16x16: the mean of log w given Q is then flat where most of Q lies.
    drive = 0.7 * (1.0 - np.exp(-max(beta - bound, 0.0) / 4.0))
    return flux_gate(b, size, largest) * (1.0 + drive / (1.0 + np.exp((b - bound) / 0.3)))
