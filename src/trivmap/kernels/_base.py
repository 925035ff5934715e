"""The interface of transition kernels: one step of a Markov chain, with the state that it carries along."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key


class AbstractKernel(eqx.Module):
    r"""A random step that leaves exp(-S) invariant, for any theory it accepts.

    $$ \int dx\, e^{-S(x)} K(x \to x') = e^{-S(x')} $$

    A state is any module with a field or property `configuration`; beside it stands what the kernel carries along, such as
    the action and its gradient, or a step size that is adapted. No method takes a batch axis: chains are `jax.vmap`. A
    kernel without anything to carry derives from `AbstractMove`, which needs one method.

        >>> kernel = tm.kernels.HMCKernel(steps=4)
        >>> state, info = kernel.step(key, theory, kernel.init(key, theory, links))
    """

    @abc.abstractmethod
    def init(self, key: Key[Array, ""], theory: Any, x: Any) -> Any:
        """The state in which a chain starts from the configuration `x`."""

    @abc.abstractmethod
    def step(self, key: Key[Array, ""], theory: Any, state: Any) -> tuple[Any, dict[str, Array]]:
        """The next state, and what is to be said of this step, by name.

        Chains keep "accepted" (a bool) and "delta_h" (the energy violation) of every step, and the largest "defect", a
        distance from the manifold; other names go to `Chain.info`.
        """

    @abc.abstractmethod
    def relocated(self, theory: Any, state: Any, x: Any) -> Any:
        """The state with another configuration: what follows from that is computed anew, what was adapted stays."""

    def thermalised(self, state: Any) -> Any:
        """The state after thermalisation: a kernel that adapts itself stops here, since only a fixed kernel is exact."""
        return state

    def belongs(self, theory: Any, state: Any) -> Bool[Array, ""]:
        """Whether a state agrees with the theory: False where it holds the action of another one."""
        return jnp.ones((), bool)

    @property
    def reversible(self) -> bool:
        """Whether a step from a fresh state obeys detailed balance, which annealed flows need."""
        return True

    @property
    def force_evaluations(self) -> int | None:
        """Gradients of the action per step, `None` for kernels that use none or a random number."""
        return None

    def repeated(self, key: Key[Array, ""], theory: Any, x: Any, count: int = 1) -> Any:
        """The configuration after `count` steps, each of them from a fresh state: nothing is remembered in between."""

        def once(x, key):
            state, _ = self.step(key, theory, self.init(init_key(key), theory, x))
            return state.configuration, None

        return jax.lax.scan(once, x, jax.random.split(key, count))[0]


def init_key(key: Key[Array, ""]) -> Key[Array, ""]:
    """A key for `init` beside one that is split elsewhere: `fold_in(key, i)` is `split(key, n)[i]` for small i."""
    return jax.random.fold_in(key, 2**31 - 1)


class Configuration(eqx.Module):
    """The state of a kernel that carries nothing along."""

    configuration: Any


class AbstractMove(AbstractKernel):
    """A kernel without a state of its own: a move of the configuration.

    >>> moved = tm.kernels.HeatbathKernel().move(key, theory, links)
    """

    @abc.abstractmethod
    def move(self, key: Key[Array, ""], theory: Any, x: Any) -> Any:
        """The next configuration."""

    def init(self, key: Key[Array, ""], theory: Any, x: Any) -> Configuration:
        return Configuration(x)

    def step(self, key: Key[Array, ""], theory: Any, state: Configuration) -> tuple[Configuration, dict[str, Array]]:
        return Configuration(self.move(key, theory, state.configuration)), {}

    def relocated(self, theory: Any, state: Configuration, x: Any) -> Configuration:
        return Configuration(x)


def reversible_kernel(owner: str, kernel: AbstractKernel) -> AbstractKernel:
    """The kernel. **Raises:** `ValueError` where it is not reversible: weights of paths would be wrong."""
    if not kernel.reversible:
        raise ValueError(
            f"{owner}: got a {type(kernel).__name__} that is not reversible, expected a reversible kernel, since the weight "
            "of a path is a ratio of transition densities; run a sequence there and back with SymmetricSequence."
        )
    return kernel
