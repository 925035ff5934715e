"""All flows, one line each: how it is built, and in which columns it differs from the others."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import pytest
from helpers import randomised

import trivmap as tm
from trivmap.gauge import LoopAlgebra

KEY = jax.random.key(0)


@dataclasses.dataclass(frozen=True)
class Row:
    """- `make`: the flow; `scale`: of the noise on its parameters, of the size that training reaches.
    - Symmetries: `translation`: the flow commutes with shifts by so many sites; `reflections`: and with reflections and
      quarter turns; `sign`: and with phi -> -phi, or charge conjugation. Gauge transformations hold for all.
    - `constant`: the log-det does not depend on the configuration. `batch`: configurations of the round trip.
    - `steps`: of integration, with an error of the log-det of `integration`; exact maps have none.
    - `magnified`: share of configurations where slopes of the inverse may magnify rounding of single precision beyond 1e-3.
    - `score`: it is compared as well, for flows that find it on the way forward and some that go back through the inverse.
    - `learned`: it has parameters.
    - `slow`: left to `make test-long`, where a smaller relative stays.
    """

    make: Callable[[], tm.flows.AbstractFlow]
    scale: float = 0.2
    translation: int | None = 1
    reflections: bool = False
    sign: bool = True
    constant: bool = False
    batch: int = 64
    integration: float = 0.0
    magnified: float = 0.0
    score: bool = False
    learned: bool = True
    slow: bool = False


SCALARS, U1_LINKS = tm.RealField((4, 4)), tm.LinkField(tm.U1(), (4, 8))
AFFINE, SPLINE = tm.transforms.Affine(), tm.transforms.RationalQuadraticSpline(4, (-2.0, 2.0))
NCP = tm.transforms.Composition(tm.transforms.NonCompactProjection(2), tm.transforms.Phase())
FAST = {"hidden": (6,), "reach": 1}
RECTANGLES = [(1, 2, -1, -2), (1, 1, 2, -1, -1, -2)]
# The square of a plaquette contains its links twice.
PRODUCTS = [LoopAlgebra(2, 2).term((1, 2, -1, -2), (1, 2, -1, -2))]


def scalar(transform, layers=5, **options):
    return tm.CouplingFlow(KEY, SCALARS, layers, transform, **FAST | options)


def coarse_to_fine(variable):
    """Two levels, and a spline on every site of the coarsest."""
    coarsest = tm.flows.PointwiseFlow(tm.RealField((2, 2)), SPLINE)
    middle = tm.flows.CoarseToFine(tm.RealField((4, 4)), coarsest, variable=variable, mass=0.7)
    return tm.flows.CoarseToFine(tm.RealField((8, 8)), middle, variable=variable, mass=0.7)


def u1(transform=None, layers=9, manifold=U1_LINKS, **options):
    return tm.GaugeCouplingFlow(KEY, manifold, layers, transform, **FAST | options)


def gated(manifold, **options):
    return tm.ContinuousFlow(tm.GatedConvolutionField(manifold, features=2, gates=1, times=2), **options)


def collective(lattice, **options):
    """What acts on all links of a direction, and what knows the charge."""
    manifold = tm.LinkField(tm.U1(), lattice)
    gated = tm.GatedConvolutionField(manifold, features=2, gates=1, times=2)
    holonomies = tm.fields.HolonomyField(KEY, manifold, times=2, ridges=1)
    return tm.ContinuousFlow(tm.fields.SumField(tm.fields.ChargeGatedField(gated), holonomies), **options)


def convolution(lattice, **options):
    field = tm.ConvolutionField(KEY, tm.RealField(lattice), sines=3, site_features=2, harmonics=1)
    return tm.ContinuousFlow(field, **options)


def loops(group, lattice, **options):
    return tm.ContinuousFlow(tm.GradientField(tm.LoopPotential(tm.LinkField(group, lattice), coefficient=0.5)), **options)


def residual(group, lattice, terms=None, **options):
    potential = tm.LoopPotential(tm.LinkField(group, lattice), terms, coefficient=1.0, time="constant")
    return tm.ResidualFlow(potential, 2, **options)


def one_matrix(n, **options):
    return tm.flows.SpectralFlow(KEY, tm.LinkField(tm.SU(n), (1,)), bins=4, hidden=(8,), **options)


def spectral(n, lattice, **options):
    return tm.SpectralCouplingFlow(KEY, tm.LinkField(tm.SU(n), lattice), 1, bins=4, hidden=(8,), **options)


# The solver of fourth order with 32 steps: (1/32)^4 = 1e-6 times error constants of order one. The order is tested apart; a
# divergence that is wrong by a term of the field is off by 1e-3 and more.
continuous = functools.partial(Row, scale=0.1, reflections=True, batch=8, integration=1e-5)

FLOWS = {
    "continuous_gated_scalar": continuous(lambda: gated(tm.RealField((3, 3)), steps=32)),
    "continuous_gated_u1": continuous(lambda: gated(tm.LinkField(tm.U1(), (2, 3)), steps=32)),
    "continuous_collective_u1": continuous(lambda: collective((2, 3), steps=32), slow=True),
    "continuous_convolution": continuous(lambda: convolution((2, 3), steps=32), slow=True),
    "continuous_loops_u1": continuous(lambda: loops(tm.U1(), (2, 3), steps=32), score=True),
    "continuous_loops_su2": continuous(lambda: loops(tm.SU(2), (2, 2), steps=32)),
    "continuous_loops_su3": continuous(lambda: loops(tm.SU(3), (2, 2), steps=32), slow=True),
    "affine": Row(lambda: scalar(AFFINE), translation=2, score=True),
    "affine_sign": Row(lambda: scalar(AFFINE, reach=2, equivariance="sign"), translation=2),
    "shift": Row(
        lambda: tm.FlowSequence(scalar(tm.transforms.Shift(), 4), tm.flows.Rescaling(SCALARS)),
        translation=2,
        constant=True,
        score=True,
    ),
    "spline": Row(lambda: scalar(tm.transforms.Composition(SPLINE, AFFINE), checkpoint=True), translation=2, score=True),
    "spline_3d": Row(lambda: tm.CouplingFlow(KEY, tm.RealField((2, 2, 4)), 3, SPLINE, **FAST), translation=2),
    "coarse_to_fine": Row(lambda: coarse_to_fine("mean"), translation=4, score=True),
    "coarse_to_fine_sites": Row(lambda: coarse_to_fine("site"), translation=4),
    "fourier": Row(lambda: tm.flows.FourierFlow(SCALARS, mass=0.7), reflections=True, constant=True),
    "rescaling": Row(lambda: tm.flows.Rescaling(SCALARS, momenta=True), reflections=True, constant=True),
    "pointwise": Row(lambda: tm.flows.PointwiseFlow(SCALARS, SPLINE), reflections=True, score=True),
    "defect_repair": Row(
        lambda: tm.flows.DefectRepair(U1_LINKS, source=1.0, target=3.0, patch=3), translation=None, learned=False
    ),
    "u1_circular_spline": Row(lambda: u1(checkpoint=True), translation=4, magnified=0.12, score=True),
    "u1_ncp_stripes": Row(
        lambda: u1(NCP, mask="stripes", pairs=False, equivariance="none"),
        translation=4,
        sign=False,
        magnified=0.12,
        score=True,
    ),
    "u1_moebius_3d": Row(
        lambda: u1(tm.transforms.Moebius(2), manifold=tm.LinkField(tm.U1(), (4, 4, 4)), equivariance="sign"),
        translation=4,
        magnified=0.25,
        score=True,
    ),
    "residual_scalar": Row(
        lambda: tm.ResidualFlow(tm.fields.NeighbourPotential(KEY, SCALARS), 2), 0.5, translation=2, score=True
    ),
    "residual_u1": Row(lambda: residual(tm.U1(), (4, 2)), 0.5, translation=2, magnified=0.1, slow=True),
    "residual_u1_odd": Row(lambda: residual(tm.U1(), (3, 2)), 0.5, translation=None, magnified=0.1),
    "residual_su2": Row(lambda: residual(tm.SU(2), (2, 2)), 0.5, translation=2, score=True),
    "residual_su3": Row(lambda: residual(tm.SU(3), (2, 2)), 0.5, translation=2, slow=True),
    "residual_su2_conditioned": Row(lambda: residual(tm.SU(2), (4, 2), hidden=(4,)), 0.5, translation=2, slow=True),
    "residual_su2_products": Row(lambda: residual(tm.SU(2), (3, 3), PRODUCTS), 0.5, translation=None, slow=True),
    "residual_su2_rectangles": Row(lambda: residual(tm.SU(2), (3, 3), RECTANGLES), 0.5, translation=None, slow=True),
    "spectral_su2": Row(lambda: one_matrix(2), sign=True),
    "spectral_su3": Row(lambda: one_matrix(3), sign=False),
    "spectral_su3_independent": Row(lambda: one_matrix(3, autoregressive=False), sign=False, slow=True),
    "spectral_su4": Row(lambda: one_matrix(4), sign=False, slow=True),
    "spectral_coupling_su2": Row(lambda: spectral(2, (4, 2)), translation=2),
    "spectral_coupling_su3": Row(lambda: spectral(3, (2, 2)), translation=2, sign=False, slow=True),
    "spectral_coupling_su3_plaquette": Row(
        lambda: spectral(3, (3, 2), loop="plaquette", checkpoint=True), translation=None, sign=False, slow=True
    ),
}


def flows(*names):
    """The named rows, all by default, as parameters of a test."""
    rows = [(name, FLOWS[name].slow) for name in names or FLOWS]
    return pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if slow else n for n, slow in rows])


@functools.cache
def case(name, scale=None):
    """The flow of a row with noise on its parameters: the same object for all tests, for which it is compiled once."""
    row = FLOWS[name]
    return randomised(jax.random.key(1), row.make(), row.scale if scale is None else scale)


def configurations(manifold, count, dtype=None):
    """Random configurations, with a leading axis."""
    return jax.vmap(lambda k: manifold.generic_sample(k, dtype))(jax.random.split(jax.random.key(2), count))
