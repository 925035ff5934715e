"""Updates: single steps of Markov chains that leave exp(-S) invariant."""

from ._base import AbstractUpdate as AbstractUpdate
from ._heatbath import HeatbathUpdate as HeatbathUpdate
from ._heatbath import OverrelaxationUpdate as OverrelaxationUpdate
from ._heatbath import SymmetricSequence as SymmetricSequence
from ._hmc_update import HMCUpdate as HMCUpdate
from ._hmc_update import splitting_of as splitting_of
from ._molecular_dynamics import DEFAULT_SPREAD as DEFAULT_SPREAD
from ._molecular_dynamics import energy as energy
from ._molecular_dynamics import molecular_dynamics as molecular_dynamics
from ._molecular_dynamics import random_length as random_length
from ._splitting import SPLITTINGS as SPLITTINGS
from ._splitting import Splitting as Splitting
from ._splitting import leapfrog as leapfrog
from ._splitting import omf2 as omf2
from ._splitting import omf4 as omf4
