"""Preconditioners with exact determinants: products, solutions, adjoints, determinants, gauge covariance, limits."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import gauge_transform, random_gauge_transformation, rows

from trivmap.fermions import (
    ColourCouplings,
    EvenOddDirac,
    HasenbuschPreconditioner,
    IdentityPreconditioner,
    IncompleteLU,
    PreconditionedDirac,
    WilsonDirac,
    log_det,
)
from trivmap.gauge import link_matrices
from trivmap.groups import SU, U1
from trivmap.training import trainable


def moved(preconditioner):
    """Other numbers than those of the start, for which some derivatives vanish."""
    return jax.tree.map(
        lambda a, learned: a + 0.1 * jax.random.normal(jax.random.key(a.size), a.shape) if learned else a,
        preconditioner,
        trainable(preconditioner),
    )


def even_odd(*arguments, **options):
    return EvenOddDirac(WilsonDirac(*arguments, **options))


PRECONDITIONERS = {
    "identity": lambda: IdentityPreconditioner(even_odd(U1(), (4, 4), 0.276, twisted_mass=0.3)),
    "hasenbusch": lambda: HasenbuschPreconditioner(*(even_odd(U1(), (4, 4), kappa) for kappa in (0.276, 0.25))),
    "polynomials": lambda: moved(ColourCouplings.polynomial(even_odd(U1(), (4, 4), 0.276), layers=3, degree=2)),
    "convolutions": lambda: moved(ColourCouplings.transport(jax.random.key(0), even_odd(SU(2), (4, 4), 0.276), 3, 2)),
    "lu-whole": lambda: IncompleteLU(WilsonDirac(U1(), (4, 4), 0.25), 1),
    "lu-odd-extents": lambda: IncompleteLU(WilsonDirac(U1(), (3, 5), 0.276), 2),
    "lu-2": lambda: IncompleteLU(even_odd(U1(), (4, 6), 0.276), 2),
    "lu-4": lambda: IncompleteLU(even_odd(U1(), (6, 6), 0.276), 4),
    "lu-two-sites": lambda: IncompleteLU(even_odd(U1(), (2, 2), 0.276), 2),
    "lu-twisted": lambda: IncompleteLU(even_odd(U1(), (4, 4), 0.276, twisted_mass=0.3), 2),
    "lu-su2": lambda: IncompleteLU(even_odd(SU(2), (4, 4), 0.2), 2),
    "lu-su3-4d": lambda: IncompleteLU(even_odd(SU(3), (2, 2, 2, 2), 0.11), 2),
}
# One compilation each; in `make test` one of each kind.
FAST = {"polynomials", "lu-2"}
preconditioners = pytest.mark.parametrize("name", rows(PRECONDITIONERS, slow=set(PRECONDITIONERS) - FAST))


@functools.lru_cache(maxsize=1)
def matrices(name):
    """Both factors, D and M with the rest of log det D, as matrices: on links, and on the same links in another gauge."""
    preconditioner = PRECONDITIONERS[name]()
    operator = preconditioner.operator
    shape = jax.eval_shape(operator.to_spinor, operator.spinor_field.cold()).shape
    basis = jnp.eye(operator.size, dtype=complex).reshape(-1, *shape)
    matrix = lambda f, d: jax.vmap(lambda psi: f(psi, d).reshape(-1))(basis).T  # noqa: E731

    @eqx.filter_jit
    def everything(x):
        factors = [
            ([matrix(f, d) for f in (factor.apply, factor.solve) for d in (False, True)], factor.log_det())
            for factor in preconditioner.factors(x)
        ]
        rest = PreconditionedDirac(preconditioner, x)
        return factors, operator.dense(x), rest.dense(), matrix(rest.apply, True), rest.log_det()

    dirac = operator.dirac
    x = dirac.manifold.reference_sample(jax.random.key(1))
    omega = random_gauge_transformation(jax.random.key(3), dirac.group, dirac.lattice)
    return dirac, x, omega, everything(x), everything(gauge_transform(dirac.group, omega, x))


# Sums of up to a hundred terms of order one, times condition numbers of L and R, which are below 100.
CLOSE = {"rtol": 0, "atol": 1e-11}


@preconditioners
def test_maps(name):
    """Adjoints, inverses, determinants of both factors, and M = L^-1 D R^-1 with what it leaves of log det D."""
    dirac, x, _, (factors, d, m, m_dagger, rest), _ = matrices(name)
    one = np.eye(len(d))
    for (product, dagger, inverse, inverse_dagger), logarithm in factors:
        assert np.allclose(dagger, product.conj().T, **CLOSE)
        assert np.allclose(inverse @ product, one, **CLOSE)
        assert np.allclose(inverse_dagger @ dagger, one, **CLOSE)
        assert np.allclose(np.linalg.slogdet(product).logabsdet, logarithm, **CLOSE)
    left, right = (products[0] for products, _ in factors)
    assert np.allclose(left @ m @ right, d, **CLOSE)
    assert np.allclose(m_dagger, m.conj().T, **CLOSE)
    assert np.allclose(rest + np.linalg.slogdet(m).logabsdet, log_det(dirac, x, "dense")[1], **CLOSE)


def test_pivots_have_a_floor():
    """Singular values of the pivots are as large as asked for."""
    operator = even_odd(U1(), (4, 4), 0.276)
    x = operator.dirac.manifold.reference_sample(jax.random.key(0))
    plain, high = (eqx.filter_jit(IncompleteLU(operator, 2, floor).factors)(x)[1].pivots for floor in (0, 1.1))
    assert np.linalg.svd(plain, compute_uv=False).min() < 1 + 1e-12  # the pivots of the first sites are one
    assert np.linalg.svd(high, compute_uv=False).min() > 1.1 - 1e-12


@preconditioners
def test_gauge_covariance(name):
    """L[U^Omega] = Omega L[U] Omega^dagger, likewise R, and equal determinants."""
    dirac, _, omega, (before, *_), (after, *_) = matrices(name)
    operator = PRECONDITIONERS[name]().operator
    at_sites = link_matrices(omega[None])[0].reshape(dirac.group.n, dirac.group.n, -1)
    at_sites = at_sites[..., np.ravel_multi_index(tuple(operator.sites.T), dirac.lattice)]
    sites = at_sites.shape[-1]
    turn = np.einsum("st,ijx,xy->sixtjy", np.eye(dirac.spins), at_sites, np.eye(sites)).reshape(operator.size, -1)
    for (products, logarithm), (products_after, logarithm_after) in zip(before, after, strict=True):
        assert np.allclose(products_after, turn @ np.array(products) @ turn.conj().T, **CLOSE)
        assert np.allclose(logarithm_after, logarithm, **CLOSE)


def test_incomplete_lu_becomes_exact():
    """The rest M - 1 falls with the distance, and vanishes where no block is dropped (4x4: 4 steps at most)."""
    operator = even_odd(U1(), (4, 4), 0.276)
    x = operator.dirac.manifold.reference_sample(jax.random.key(0))
    matrix = eqx.filter_jit(lambda preconditioner: PreconditionedDirac(preconditioner, x).dense())
    rest = [float(np.linalg.norm(np.asarray(matrix(IncompleteLU(operator, d))) - np.eye(16))) for d in (2, 4)]
    assert rest[0] > 0.01
    assert rest[1] < 1e-12  # 16 rows of order one


def test_refusals():
    operator = even_odd(U1(), (4, 4), 0.2)
    with pytest.raises(ValueError, match="at least 2: EvenOddDirac"):
        IncompleteLU(operator, 1)
    with pytest.raises(ValueError, match="heavier operator"):
        HasenbuschPreconditioner(operator, operator.dirac)
    with pytest.raises(ValueError, match="floor"):
        IncompleteLU(operator, 2, floor=-0.1)
    with pytest.raises(TypeError, match="distance"):
        IncompleteLU(operator, 2.5)
