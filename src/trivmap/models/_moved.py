"""A model whose numbers belong to one lattice and whose samples live on another."""

from typing import Any

from jaxtyping import Array, DTypeLike, Float, Key

from .._types import Configuration
from ..manifolds import AbstractManifold
from ..theories import AbstractTheory
from ._base import AbstractModel


class MovedModel(AbstractModel):
    r"""A model on the lattice of a theory whose numbers are those of a model on a smaller one.

    Convolutions on a large lattice have many kernels of large displacement, for which a training needs many samples and which
    are hardly there. This is the model that `transfer` makes, as a function of the numbers it is made of: `fit` and
    `gauss_newton` change these, and kernels keep their reach. `moved` is the model with numbers of its own.

    **Arguments:** `model`: a model that can be transferred; `theory`: on the large lattice, as for `transfer`.

    **Raises:** those of `transfer`.

        >>> larger = tm.models.MovedModel(model, tm.WilsonAction(tm.U1(), (8, 8), beta=2.0))
        >>> x, log_q = larger.sample_and_log_prob(key)
    """

    model: AbstractModel
    theory: AbstractTheory

    def __init__(self, model: AbstractModel, theory: AbstractTheory):
        model.transferred(theory)
        self.model, self.theory = model, theory

    @property
    def manifold(self) -> AbstractManifold:
        return self.theory.manifold

    @property
    def moved(self) -> Any:
        """The model on the large lattice, with numbers of its own."""
        return self.model.transferred(self.theory)

    def sample_and_log_prob(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""]]:
        return self.moved.sample_and_log_prob(key, dtype)

    def log_prob(self, x: Configuration) -> Float[Array, ""]:
        return self.moved.log_prob(x)

    def sample_with_error(
        self, key: Key[Array, ""], dtype: DTypeLike | None = None
    ) -> tuple[Configuration, Float[Array, ""], Float[Array, ""]]:
        return self.moved.sample_with_error(key, dtype)

    @property
    def refinable(self) -> bool:
        return self.model.refinable

    def refined(self, factor: int = 2) -> "MovedModel":
        return MovedModel(self.model.refined(factor), self.theory)

    def transferred(self, theory: AbstractTheory) -> "MovedModel":
        return MovedModel(self.model, theory)
