from typing import Any

import equinox as eqx
import jax.numpy as jnp

from .._types import Array, RealScalar, Shape
from ..gauge import plaquette_sum
from ..groups import U1
from ..lattice import shift, site_sum
from ..manifolds import LinkField, ProductManifold, RealField
from ._base import AbstractTheory, coupling, number


class U1HiggsAction(AbstractTheory):
    r"""Compact U(1) links and a complex scalar of charge one (the abelian Higgs model, scalar QED) in $d \ge 2$ dimensions:

    $$S = -\beta \sum_{x,\, \mu<\nu} \cos\theta_{\mu\nu}(x)
        - 2 \kappa \sum_{x,\mu} \mathrm{Re}\, \varphi_x^* e^{i\theta_\mu(x)} \varphi_{x+\mu}
        + \sum_x \big[ m^2 |\varphi_x|^2 + \lambda |\varphi_x|^4 \big]$$

    Configurations are `{"links": angles (d, *lattice), "phi": (2, *lattice)}` with $\varphi = \phi_0 + i \phi_1$; the measure
    is $\prod d\theta/2\pi \prod d\phi_0 d\phi_1$. The action does not change under $\varphi_x \to e^{i\alpha_x} \varphi_x$,
    $\theta_\mu(x) \to \theta_\mu(x) + \alpha_x - \alpha_{x+\mu}$. At $\kappa = 0$ the links are those of `WilsonAction`; at
    unit links the scalar is an O(2) model, for $\kappa = 1$ with the convention of `Phi4Action` and its mass $m^2 - 2d$.
    Along an extent of 2 both bonds between a pair of sites count, and a site of an extent of 1 is its own neighbour.

    **Arguments:** `lattice`: extents; `beta`: inverse gauge coupling; `kappa`: hopping parameter; `lam`: quartic coupling;
    `m2`: coefficient of $|\varphi|^2$. All are scalars.

    **Raises:** `ValueError` for one dimension, and for an action without lower bound or with flat directions: lam < 0, or
    lam = 0 with $m^2 \le 2 d |\kappa|$.

    Phases: E. Fradkin and S. Shenker, Phys. Rev. D 19 (1979) 3682.

        >>> theory = tm.U1HiggsAction((8, 8), beta=2.0, kappa=0.3, lam=0.5, m2=1.0)
        >>> chain = tm.hmc(jax.random.key(0), theory, 1000)
    """

    manifold: ProductManifold = eqx.field(static=True)
    beta: RealScalar
    kappa: RealScalar
    lam: RealScalar
    m2: RealScalar

    def __init__(self, lattice: Shape, beta: Any, kappa: Any, lam: Any, m2: Any):
        scalar = RealField(lattice, components=2)
        self.manifold = ProductManifold(links=LinkField(group=U1(), lattice=lattice), phi=scalar)
        if len(self.lattice) < 2:
            raise ValueError(
                f"U1HiggsAction: got a lattice of {len(self.lattice)} dimension, expected at least two (a plaquette spans a "
                "plane); give extents such as (8, 8)."
            )
        self.beta = coupling("U1HiggsAction: beta", beta)
        self.kappa = coupling("U1HiggsAction: kappa", kappa)
        self.lam = coupling("U1HiggsAction: lam", lam)
        self.m2 = coupling("U1HiggsAction: m2", m2)
        self.check_couplings()

    def check_couplings(self) -> None:
        if number(self.lam) < 0:
            raise ValueError(
                f"U1HiggsAction: got lam={self.lam}, expected lam >= 0: the action has no lower bound otherwise."
            )
        bound = 2 * len(self.lattice) * abs(number(self.kappa))
        if number(self.lam) == 0 and number(self.m2) <= bound:
            raise ValueError(
                f"U1HiggsAction: got m2={self.m2} with lam=0, expected m2 > 2 d |kappa| = {bound:g} without a quartic term: "
                "fields that follow unit links have no normalisable weight otherwise."
            )

    def action(self, x: dict[str, Array]) -> RealScalar:
        """The action, summed in float64 when x64 is enabled."""
        self.manifold.check(x)
        links, phi = x["links"], x["phi"]
        dim = len(self.lattice)
        real, imaginary = phi
        cos, sin = jnp.cos(links), jnp.sin(links)
        hopping = jnp.zeros_like(real)
        for mu in range(dim):
            a, b = shift(real, mu, 1, dim), shift(imaginary, mu, 1, dim)
            hopping += real * (cos[mu] * a - sin[mu] * b) + imaginary * (sin[mu] * a + cos[mu] * b)
        square = real * real + imaginary * imaginary
        plaquettes, bonds = plaquette_sum(U1(), links), site_sum(hopping)
        mass, quartic = site_sum(square), site_sum(square * square)
        beta, kappa, lam, m2 = (c.astype(mass.dtype) for c in (self.beta, self.kappa, self.lam, self.m2))
        return m2 * mass + lam * quartic - 2 * kappa * bonds - beta * plaquettes.astype(mass.dtype)
