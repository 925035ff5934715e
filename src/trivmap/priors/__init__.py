from ._base import AbstractPrior as AbstractPrior
from ._ensemble import EnsemblePrior as EnsemblePrior
from ._gaussian import GaussianPrior as GaussianPrior
from ._haar import HaarPrior as HaarPrior
from ._product import ProductPrior as ProductPrior
from ._region import GaussianRegionPrior as GaussianRegionPrior
