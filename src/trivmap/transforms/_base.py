"""The interface of elementwise invertible maps whose parameters a conditioner supplies."""

import abc

import equinox as eqx
from jaxtyping import Array, Float

Mapped = tuple[Float[Array, "*shape"], Float[Array, "*shape"]]


class AbstractTransform(eqx.Module):
    """An increasing map of real numbers, or of the circle, with parameters of its own for every element.

    Parameters come as `(parameters, *shape)`, any real numbers; zeros give the identity or a map close to it. Maps of the
    circle take angles without wrapping and commute with x -> x + 2 pi.

        >>> transform = tm.transforms.Affine()
        >>> y, log_slope = transform.forward(jnp.ones(5), jnp.zeros((transform.parameters, 5)))
    """

    periodic: eqx.AbstractVar[bool]
    """Whether the map is one of the circle of circumference 2 pi."""

    @property
    @abc.abstractmethod
    def parameters(self) -> int:
        """Number of parameters per element."""

    @abc.abstractmethod
    def reflected(self, parameters: Float[Array, "parameters *shape"]) -> Float[Array, "parameters *shape"]:
        """The parameters of the reflected map, -f(-x) (on an interval: about its centre); an involution, linear."""

    @abc.abstractmethod
    def _forward(self, x: Array, parameters: Array) -> tuple[Array, Array]: ...

    @abc.abstractmethod
    def _inverse(self, y: Array, parameters: Array) -> tuple[Array, Array]: ...

    def forward(self, x: Float[Array, "*shape"], parameters: Float[Array, "parameters *shape"]) -> Mapped:
        """y = f(x) and log f'(x).

        **Raises:** `ValueError` for another number of parameters than `self.parameters`.
        """
        self._check(x, parameters)
        return self._forward(x, parameters)

    def inverse(self, y: Float[Array, "*shape"], parameters: Float[Array, "parameters *shape"]) -> Mapped:
        """x = f^{-1}(y) and the log slope of the inverse, log (f^{-1})'(y) = -log f'(x).

        **Raises:** `ValueError` for another number of parameters than `self.parameters`.
        """
        self._check(y, parameters)
        return self._inverse(y, parameters)

    def _check(self, x: Array, parameters: Array) -> None:
        if parameters.shape != (self.parameters, *x.shape):
            raise ValueError(
                f"{type(self).__name__}: got parameters of shape {parameters.shape} for values of shape {x.shape}, "
                f"expected {(self.parameters, *x.shape)}; a conditioner has to deliver {self.parameters} numbers per element."
            )
