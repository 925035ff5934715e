"""The reverse Kullback-Leibler divergence with path gradients."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Key

from ...lattice import site_sum
from ...models import log_weight_and_score
from ...theories import AbstractTheory
from ._base import over_batch


def path_gradient(
    key: Key[Array, ""],
    model: Any,
    theory: AbstractTheory,
    batch_size: int,
    *,
    dtype: DTypeLike | None = None,
    error_weight: float = 1.0,
) -> tuple[Float[Array, ""], Float[Array, " batch"]]:
    r"""The reverse Kullback-Leibler divergence, differentiated along the paths of the samples only.

    The gradient of `reverse_kl` by the parameters has two parts, through $x = f_\theta(z)$ and through the explicit
    dependence of $\log q_\theta(x)$; the mean of the second vanishes, but not its variance. Here it is left out:

    $$ \nabla_\theta L = \mathrm{mean}\big[ \nabla_x (\log q(x) + S(x)) \cdot \nabla_\theta f_\theta(z) \big]. $$

    The variance of this gradient vanishes at the theory (arXiv:2207.08219). Coupling flows carry $\nabla_x \log q$ along with
    their samples (arXiv:2403.15881); for other flows it is found on the way back through the inverse, so that a step costs
    about two thirds more than one of `reverse_kl`.

    **Arguments, returns:** as for `reverse_kl`, with the same value of the loss.

        >>> loss, log_weights = tm.objectives.path_gradient(key, model, theory, 8)
    """

    def one(key, model, theory):
        x, log_weight, score, error = log_weight_and_score(key, model, theory, dtype)
        log_weight = jax.lax.stop_gradient(log_weight)
        # Complex derivatives act by Re(g dx), as in jax.grad.
        products = jax.tree.map(lambda s, a: site_sum(jnp.real(jax.lax.stop_gradient(s) * a)), score, x)
        path = -sum(jax.tree.leaves(products))
        # The value is that of the forward pass, the gradient that of the path.
        return path - jax.lax.stop_gradient(path) - log_weight, log_weight, error

    loss, log_weights, error = over_batch(one, key, model, theory, batch_size)
    return jnp.mean(loss) + error_weight * jnp.mean(error), log_weights
