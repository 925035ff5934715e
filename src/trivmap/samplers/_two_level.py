"""Two-level estimates: parts of the lattice averaged on their own, between frozen ones."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._checks import integers
from .._types import PRNGKey
from ..kernels import AbstractKernel, OnRegion
from ..lattice import Region
from ..statistics import Chain
from ..theories import AbstractTheory
from ._interrupt import in_batches


def two_level(
    key: PRNGKey,
    chain: Chain,
    theory: AbstractTheory,
    kernel: AbstractKernel,
    n: int,
    *,
    regions: Mapping[str, Any],
    measure: Mapping[str, Callable],
    combine: Callable[[dict[str, Any]], dict[str, Any]],
    batch_size: int = 16,
    progress: bool = False,
) -> Chain:
    r"""Averages an observable that factorises over regions which do not interact, in each of them for itself.

    Where frozen sites or links B separate the regions, $p(x) = p(B) \prod_r p(x_r | B)$, and for observables $O_r(x_r, B)$

    $$ \langle O_1 O_2 \cdots \rangle = \big\langle [O_1]_B\, [O_2]_B \cdots \big\rangle. $$

    From every configuration of a chain `n` steps of a kernel move each region, all else fixed; $[O_r]_B$ is the mean over
    them and the start. n states of each of two regions are n^2 pairs, so that noise falls as $1/n$, not $1/\sqrt{n}$, until
    the fluctuations of B dominate (Luescher and Weisz, hep-lat/0108014; Ce, Giusti and Schaefer, arXiv:1601.04587). Unbiased
    for any n, since the chain is in equilibrium already; at n = 0 it is the observable on the chain itself.

    **Arguments:**

    - `chain`: of `theory`, with configurations. Its order stays, so that errors hold its autocorrelation.
    - `kernel`: leaves `theory` invariant; runs on each region for itself (`OnRegion`), with decisions of its own.
    - `n`: steps from every configuration.
    - `regions`: a `Region`, or booleans `(*lattice)`, by name.
    - `measure`: for each of these names a function of the configuration that reads this region and frozen sites only.
    - `combine`: makes observables by name from the means by name. Linear in each mean: else it is biased.
    - `batch_size`: configurations of every chain at once.

    **Raises:** `ValueError` for a chain without configurations or with phases, names that do not agree, regions that overlap
    or interact; `SamplingInterrupted` on an interrupt.

        >>> halves = {"left": tm.lattice.slab((4, 4), 0, 1, 2), "right": tm.lattice.slab((4, 4), 0, 3, 4)}
        >>> measure = {"left": lambda x: jnp.mean(x[1]), "right": lambda x: jnp.mean(x[3])}
        >>> kernel, product = tm.kernels.HMCKernel(steps=4), lambda mean: {"C": mean["left"] * mean["right"]}
        >>> fields = tm.hmc(key, scalar, 50, chains=2)
        >>> pairs = tm.samplers.two_level(key, fields, scalar, kernel, 5, regions=halves, measure=measure, combine=product)
        >>> tm.expectation(pairs, "C")
    """
    integers("two_level", 0, n=n)
    integers("two_level", 1, batch_size=batch_size)
    if not isinstance(chain, Chain) or chain.configurations is None:
        raise ValueError("two_level starts from the configurations of a Chain: run it without measure=, and pass the chain.")
    if chain.phases is not None:
        raise ValueError("two_level: the chain is one of magnitudes, whose phase is no product over regions.")
    if set(regions) != set(measure):
        raise ValueError(f"two_level: got regions {sorted(regions)} and measure {sorted(measure)}, expected the same names.")
    parts = {name: region if isinstance(region, Region) else Region(region) for name, region in regions.items()}
    _check_separated(theory, parts)
    chains, length = chain.shape
    size = min(batch_size, length)
    moved = {name: OnRegion(region, kernel) for name, region in parts.items()}

    def batch(start: int) -> Any:
        index = (start + np.arange(size)) % length
        keys = jax.random.split(jax.random.fold_in(key, start), (size, chains))
        x = jax.tree.map(lambda a: jnp.swapaxes(jnp.asarray(a[:, index]), 0, 1), chain.configurations)
        return _averaged(keys, theory, moved, dict(measure), combine, n, x)

    def assemble(found: dict[str, np.ndarray]) -> Chain:
        observables = {name: np.swapaxes(values, 0, 1) for name, values in found.items()}
        return Chain(None, observables, cautions=chain.cautions)

    return in_batches("two_level", batch, length, size, assemble, progress)


@eqx.filter_jit
def _averaged(keys, theory, kernels, measure, combine, n, configurations):
    def mean(key, kernel, observable, x):
        def step(carry, key):
            state, total = carry
            state, _ = kernel.step(key, theory, state)
            return (state, jax.tree.map(jnp.add, total, observable(state.configuration))), None

        key, start_key = jax.random.split(key)
        start = (kernel.init(start_key, theory, x), observable(x))
        (_, total), _ = jax.lax.scan(step, start, jax.random.split(key, n))
        return jax.tree.map(lambda a: a / (n + 1), total)

    def one(key, x):
        names = sorted(kernels)
        found = {
            k: mean(own, kernels[k], measure[k], x) for k, own in zip(names, jax.random.split(key, len(names)), strict=True)
        }
        return combine(found)

    return jax.vmap(jax.vmap(one))(keys, configurations)


def _check_separated(theory: AbstractTheory, regions: dict[str, Region]) -> None:
    """The force in one region must not change, but for rounding, when the field in another one is drawn anew."""
    x, y = (theory.manifold.hot(jax.random.key(seed)) for seed in (0, 1))
    force = eqx.filter_jit(theory.gradient)
    for name, region in regions.items():
        before = region.restricted(force(x))
        for other, elsewhere in regions.items():
            if other == name:
                continue
            if np.any(region.of_links() & elsewhere.of_links()):
                raise ValueError(f"two_level: the regions {name!r} and {other!r} overlap, expected them apart.")
            change = jax.tree.map(jnp.subtract, region.restricted(force(elsewhere.where(y, x))), before)
            largest = max(float(jnp.max(jnp.abs(a))) for a in jax.tree.leaves(change))
            scale = max(float(jnp.max(jnp.abs(a))) for a in jax.tree.leaves(before))
            # Local forces are sums of the same numbers; Fourier transforms mix roundings of the whole lattice.
            if largest > 1e-3 * float(jnp.finfo(jnp.result_type(float)).eps) ** 0.5 * scale:
                raise ValueError(
                    f"two_level: the regions {name!r} and {other!r} interact: a force in one changes by {largest:.1g} with "
                    "the field in the other. Leave frozen sites (for gauge fields, links) between them."
                )
