"""Sampling: from models with log weights, and Markov chains (independence Metropolis, HMC)."""

from ._hmc import hmc as hmc
from ._hmc_state import HMCState as HMCState
from ._interrupt import SamplingInterrupted as SamplingInterrupted
from ._metropolis import independence_metropolis as independence_metropolis
from ._molecular_dynamics import energy as energy
from ._molecular_dynamics import molecular_dynamics as molecular_dynamics
from ._sample import sample as sample
from ._splitting import Splitting as Splitting
from ._splitting import leapfrog as leapfrog
from ._splitting import omf2 as omf2
from ._splitting import omf4 as omf4
from ._step_halving import StepHalvingReport as StepHalvingReport
from ._step_halving import step_halving as step_halving
