import abc
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._checks import finite
from .._parameters import all_fields
from .._types import Array, Configuration, PRNGKey, Shape, Tangent
from ..manifolds import AbstractManifold


class AbstractTheory(eqx.Module):
    r"""An action on a manifold of field configurations; the weight is `exp(-action)`.

    A new theory gives `manifold` and `action`; everything else follows. The action may be complex: then
    $|e^{-S}| = e^{-\mathrm{Re}\,S}$ is sampled, and the phase $\theta = -\mathrm{Im}\,S$ is left to reweighting.

        >>> class Quartic(tm.AbstractTheory):
        ...     manifold: tm.RealField
        ...     def action(self, x): return jnp.sum(x**4)
        ...
        >>> float(Quartic(tm.RealField((2, 2))).action(jnp.ones((2, 2))))
    """

    manifold: eqx.AbstractVar[AbstractManifold]
    """The space of configurations."""

    @abc.abstractmethod
    def action(self, x: Any) -> Array:
        """The action of one configuration (an array, or a dictionary of arrays on a product of manifolds), a scalar,
        real or complex."""

    @property
    def terms(self) -> "tuple[AbstractTheory, ...]":
        """The summands of the action with forces of their own: itself alone, unless it is a `SumTheory`."""
        return (self,)

    def real_action(self, x: Any) -> Array:
        """The real part of the action, which is all of it for most theories."""
        return jnp.real(self.action(x))

    @property
    def complex_action(self) -> bool:
        """Whether the action is complex, from its type."""
        arrays, static = eqx.partition(self, eqx.is_array)
        leaves, structure = jax.tree.flatten(arrays)
        # Samplers ask several times in every call, and tracing an action takes milliseconds.
        return _complex_action(structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves), _Static(static))

    @property
    def phase_quenched(self) -> "AbstractTheory":
        """The theory of weight |exp(-S)|: itself, unless its action is complex."""
        from ._phase_quenched import PhaseQuenched

        return PhaseQuenched(self) if self.complex_action else self  # pyright: ignore[reportCallIssue]

    def noisy_action(self, key: PRNGKey, x: Any) -> Array:
        r"""A random $\tilde S$ with $\langle e^{-\tilde S} \rangle = e^{-S(x)}$, real; the action itself by default.

        A theory whose weight is known through unbiased, positive estimates (a stochastic determinant) defines it;
        `sample(..., estimates=k)` draws k of them for each configuration.
        """
        return self.action(x)

    @property
    def pseudofermions(self) -> tuple[str, ...]:
        """Names of the components that `refresh` draws anew; none, unless quarks are pseudofermions."""
        return ()

    def refresh(self, key: PRNGKey, x: Any) -> Any:
        """The configuration with new pseudofermions, drawn exactly given all other fields; all others stay."""
        return x

    def neighbour_coupling(self) -> Array:
        r"""The c of an action $-c \sum_{x \mu} \phi_x \phi_{x+\mu}$ plus a function of the moduli of a real field, c >= 0.

        `ClusterKernel` needs it. **Raises:** `TypeError` with the reason, unless the theory defines it.
        """
        raise TypeError(
            f"ClusterKernel: the signs of {type(self).__name__} are not known to be an Ising model; a theory whose action "
            "is -c sum phi_x phi_(x+mu) plus a function of |phi_x| has it by a method neighbour_coupling() that returns c."
        )

    def at_step(self, step: Array, stop: Array) -> "AbstractTheory":
        """The theory of step `step` of a training of `stop` steps: itself, unless its couplings move."""
        return self

    @property
    def final(self) -> "AbstractTheory":
        """The theory at the end of a training: itself, unless its couplings move."""
        return self

    def check_couplings(self) -> None:
        """Raises `ValueError` for couplings, where they are numbers and not traced, at which exp(-action) has no integral."""

    @property
    def lattice(self) -> Shape:
        """Extents of the periodic lattice, axis 0 is time."""
        return self.manifold.lattice

    def frozen_fields(self) -> frozenset[str]:
        """All of them: couplings are physics, which no training changes."""
        return all_fields(self)

    def gradient(self, x: Configuration) -> Tangent:
        """Gradient of the (real part of the) action, a tangent vector (right-trivialised on groups); minus the force."""
        return self.manifold.gradient(self.real_action)(x)


class _Static:
    """What is not an array of a theory, equal where JAX would not compile anew."""

    def __init__(self, theory: Any):
        self.theory = theory
        self.key = (jax.tree.structure(theory), *jax.tree.leaves(theory))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and self.key == other.key


@functools.lru_cache(maxsize=256)
def _complex_action(structure: Any, shapes: tuple, static: _Static) -> bool:
    arrays = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*shape) for shape in shapes])
    action = jax.eval_shape(lambda a: (t := eqx.combine(a, static.theory)).action(t.manifold.cold()), arrays)
    return bool(jnp.issubdtype(action.dtype, jnp.complexfloating))


def coupling(name: str, value: Any) -> Array:
    """Converts a coupling to a real scalar array, in JAX's default float unless it already has a floating dtype.

    **Raises:** `TypeError` for what is no real number, `ValueError` for arrays of several and for nan and infinity.
    """
    if np.iscomplexobj(value):
        raise TypeError(f"{name}: got {value}, expected a real number.")
    if not hasattr(value, "dtype"):
        finite(name, value)
    # A number may be too large for the default float: infinity is refused below, without NumPy's warning.
    with np.errstate(over="ignore"):
        array = jnp.asarray(value if hasattr(value, "dtype") else float(value))
    if array.ndim != 0:
        raise ValueError(
            f"{name}: got an array of shape {array.shape}, expected a scalar; "
            "build one theory per coupling, with jax.vmap over the constructor if they are many."
        )
    finite(name, array)
    if not hasattr(value, "dtype") or not jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(float)
    return array


def number(coupling: Any) -> float:
    """The value of a coupling; nan, with which every comparison fails, while it is traced."""
    return float("nan") if isinstance(coupling, Tracer) else float(np.asarray(coupling))
