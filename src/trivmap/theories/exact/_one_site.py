import math
from dataclasses import dataclass, replace

import numpy as np

from ._errors import NoExactResultError
from ._site import site_grid

# Bonds are expanded in functions with relative weight above this; the error of a product is its square.
_BOND_TOLERANCE = 1e-9


@dataclass(frozen=True)
class OneSiteBasis:
    r"""Eigenfunctions $v_k$ of the kernel that carries one site to the next time slice.

    $$A(\phi, \phi') = w^{1/2}(\phi)\, e^{2\phi\phi'} w^{1/2}(\phi'), \qquad
      w(\phi) = e^{-(m^2 + c)\phi^2 - \lambda\phi^4}$$

    The rest of the time slice, $\prod_x e^{2\phi_x\phi_{x+1} - (2d - c)\phi_x^2}$, is a ring of tensors `g[s, t, a, b]`
    with levels s, t of a site and bond indices a, b. Parity of the levels alternates.
    """

    dimension: int
    points: np.ndarray
    eigenvalues: np.ndarray  # of A, largest first, the largest scaled to one
    log_scale: float
    functions: np.ndarray  # (levels, points), orthonormal
    ring_weight: np.ndarray  # (points,)
    bond: np.ndarray  # (bonds, points)

    @property
    def log_eigenvalues(self) -> np.ndarray:
        return np.log(self.eigenvalues)

    def truncated(self, levels: int) -> "OneSiteBasis":
        return replace(self, eigenvalues=self.eigenvalues[:levels], functions=self.functions[:levels])

    def matrix(self, values: np.ndarray) -> np.ndarray:
        """Matrix elements of a function of the field at one site."""
        return (self.functions * values) @ self.functions.T

    def ring(self, levels: int, values: np.ndarray | float = 1.0) -> np.ndarray:
        """Ring tensors of one site between the lowest levels, with a function of the field if one is given."""
        return self._ring(levels, np.broadcast_to(values, self.points.shape))

    def ring_with_source(self, levels: int, source: float) -> np.ndarray:
        r"""Ring tensors of $e^{ih\phi_x}$ times the slice, in a real form.

        An odd element is imaginary. With i taken out of every odd level and bond the tensor is real; bonds pair up to a
        sign, and the levels leave $T = J \tilde T J$, where $J^2$ is the parity of the state.
        """
        g = self._ring(levels, np.exp(1j * source * self.points))
        odd_level, odd_bond = np.arange(levels) % 2, np.arange(len(self.bond)) % 2
        count = odd_level[:, None, None, None] + odd_level[:, None, None] + odd_bond[:, None] + odd_bond
        return np.ascontiguousarray(((-1j) ** count * (-1.0) ** odd_bond[:, None] * g).real)

    def _ring(self, levels: int, factor: np.ndarray) -> np.ndarray:
        v, b = self.functions[:levels], self.bond
        slots = np.einsum("si,ti->sti", v, v).reshape(levels**2, -1)
        bonds = np.einsum("ai,bi,i->abi", b, b, self.ring_weight * factor).reshape(len(b) ** 2, -1)
        return (slots @ bonds.T).reshape(levels, levels, len(b), len(b))


def one_site_basis(dimension: int, m2: float, lam: float, tolerance: float) -> OneSiteBasis:
    # c between 2 (spatial bonds as squares) and 4 (bare bonds) shares the mass term; 2.6 converges fastest in 2D.
    c = 2.6 if dimension == 2 else 2.0
    points, weights, log_scale = site_grid(m2 + c - 2, lam, curvature=8.0)
    if (c - 2) * points[-1] ** 2 > 600:
        raise NoExactResultError(
            f"no exact result for phi^4 with m2={m2}, lam={lam} in two dimensions: in this ordered phase the field is of "
            f"size {points[-1]:.3g}, and factors of the transfer matrix overflow. Take a larger lam or m2, or simulate."
        )
    middle = len(points) // 2
    # e^{2xy} = e^{x^2 + y^2 - (x-y)^2}: the squares are in the weights already, and nothing overflows.
    x = points[middle:]
    root = np.sqrt(weights[middle:] * np.where(x > 0, 1.0, 0.5))
    same, mirrored = np.exp(-(np.subtract.outer(x, x) ** 2)), np.exp(-(np.add.outer(x, x) ** 2))
    values, functions = [], []
    for kernel, parity in ((same + mirrored, 1), (same - mirrored, -1)):
        a, v = np.linalg.eigh(root[:, None] * kernel * root)
        a, v = a[::-1], v[:, ::-1]
        keep = a > a[0] * tolerance * 1e-2
        # One more application of the kernel gives the tails their true size: v / root without dividing by it.
        u = (kernel @ (root[:, None] * v[:, keep]) / a[keep]).T / math.sqrt(2)
        values.append(a[keep])
        functions.append(np.concatenate([parity * u[:, :0:-1], u], axis=1))
    levels = 2 * min(len(values[0]), len(values[1]))
    a = np.stack([values[0][: levels // 2], values[1][: levels // 2]], axis=1).ravel()
    u = np.stack([functions[0][: levels // 2], functions[1][: levels // 2]], axis=1).reshape(levels, -1)
    keep = a > a[0] * tolerance
    bonds = a > a[0] * _BOND_TOLERANCE
    ring_weight = np.exp((c - 2) * points**2) if dimension == 2 else np.ones_like(points)
    bond = (np.sqrt(a)[:, None] * u)[bonds] if dimension == 2 else np.ones((1, len(points)))
    return OneSiteBasis(
        dimension=dimension,
        points=points,
        eigenvalues=a[keep] / a[0],
        log_scale=math.log(a[0]) + log_scale,
        functions=(u * np.sqrt(weights))[keep],
        ring_weight=ring_weight,
        bond=bond,
    )
