"""Independence Metropolis of regions: a flow draws what is inside, given what is around."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Key

from ..lattice import accumulator_dtype
from ._base import AbstractKernel, Configuration
from ._tiles import cut, paste


class RegionMetropolis(AbstractKernel):
    r"""Draws regions anew by a flow that knows their surroundings, all over the lattice, with a decision for each.

    A region R of a small lattice, the window, is moved with everything around it fixed:

    $$ \min\Big(1, \frac{e^{-S(y)}\, q(x_R | x_B)}{e^{-S(x)}\, q(y_R | x_B)}\Big) $$

    q is that of `model`; of the action only the window enters, where both differ. Windows tile the lattice from a random
    origin, so that every site is reached, and the boundary of a window is never next to the region of another. What a window
    accepts, and its cost, does not depend on the size of the lattice. Where extents are no multiples of those of the window,
    the rest stays where it is in this step. Reversible, and ergodic by itself.

    **Arguments:**

    - `model`: a `Model` whose prior is a `priors.GaussianRegionPrior`, or another with a method `redrawn(key, x)`, and whose
      flow moves its region, such as a `ContinuousFlow` of a field on `manifold`, trained towards
      `RegionTheory(theory, region)`.
    - `theory`: that of the chain on the lattice of the window. Its action must be local and invariant under translations, and
      the sites of the region at a distance of at least its range from the edge.

    **Raises:** `ValueError` for a model and a theory of other lattices, for a region that reaches the edge of the window,
    and, when it is used, for theories of another kind or other couplings, and on lattices smaller than the window.

        >>> window, fields = tm.Phi4Action((6, 6), m2=-4.0, lam=8.0), jnp.zeros((1, 6, 6))
        >>> box = tm.lattice.slab((6, 6), 0, 2, 4) & tm.lattice.slab((6, 6), 1, 2, 4)
        >>> prior = tm.priors.GaussianRegionPrior(box, fields)
        >>> flow = tm.ContinuousFlow(tm.GatedConvolutionField(prior.manifold), steps=2)
        >>> kernel = tm.kernels.RegionMetropolis(tm.Model(prior, flow), window)
        >>> chain = tm.run_chain(key, tm.Phi4Action((12, 12), m2=-4.0, lam=8.0), kernel, 10)
    """

    model: Any
    theory: Any

    def __init__(self, model: Any, theory: Any):
        region, lattice = model.manifold.region, theory.manifold.lattice
        if region.lattice != lattice:
            raise ValueError(
                f"RegionMetropolis: got a model on {region.lattice} and a theory on {lattice}, expected one lattice."
            )
        sides = [np.take(region.mask, (0, -1), axis=axis) for axis in range(len(lattice))]
        if region.links or any(np.any(side) for side in sides):
            raise ValueError(f"RegionMetropolis: got {region}, expected sites that leave out the edge of the window.")
        self.model, self.theory = model, theory

    def init(self, key: Key[Array, ""], theory: Any, x: Any) -> Configuration:
        _check_same("RegionMetropolis", theory, self.theory)
        return Configuration(x)

    def relocated(self, theory: Any, state: Configuration, x: Any) -> Configuration:
        return Configuration(x)

    def step(self, key: Key[Array, ""], theory: Any, state: Configuration) -> tuple[Configuration, dict[str, Array]]:
        x, window = state.configuration, self.theory.manifold.lattice
        place, draw = jax.random.split(key)
        axes = tuple(range(x.ndim))
        origin = jax.random.randint(place, (x.ndim,), 0, jnp.asarray(x.shape))
        x = jnp.roll(x, -origin, axes)
        windows = cut(x, window)
        moved, accepted = jax.vmap(self._redraw)(jax.random.split(draw, len(windows)), windows)
        x = jnp.roll(paste(x, moved, window), origin, axes)
        return Configuration(x), {"windows_accepted": jnp.mean(accepted.astype(float))}

    def _redraw(self, key: Array, x: Array) -> tuple[Array, Array]:
        draw, decide = jax.random.split(key)
        prior, flow = self.model.prior, self.model.transport
        z = prior.redrawn(draw, x)
        y, log_det = flow.forward_and_log_det(z)
        gain = self.theory.action(x) - self.theory.action(y) + self.model.log_prob(x) - prior.log_prob(z) + log_det
        accept = jnp.log(jax.random.uniform(decide, dtype=accumulator_dtype())) < gain.astype(accumulator_dtype())
        return jnp.where(accept, y, x), accept


def _check_same(owner: str, theory: Any, window: Any) -> None:
    lattice, small = theory.manifold.lattice, window.manifold.lattice
    if type(theory) is not type(window) or len(lattice) != len(small):
        raise ValueError(
            f"{owner}: got a chain of {theory}, and {window} for the window, expected one theory on two lattices."
        )
    if any(extent < size for extent, size in zip(lattice, small, strict=True)):
        raise ValueError(f"{owner}: got a chain on {lattice}, expected extents of at least those of the window, {small}.")
    pairs = zip(*(jax.tree.leaves(eqx.filter(t, eqx.is_array)) for t in (theory, window)), strict=True)
    if any(not isinstance(a, Tracer) and not np.array_equal(a, b) for a, b in pairs):
        raise ValueError(f"{owner}: got a chain of {theory}, and other couplings in the window, {window}.")
