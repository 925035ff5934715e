"""Sampling: models with log weights, Markov chains (independence Metropolis, HMC, heatbath), sequential Monte Carlo."""

from ._heatbath import heatbath as heatbath
from ._hmc import hmc as hmc
from ._interrupt import SamplingInterrupted as SamplingInterrupted
from ._metropolis import independence_metropolis as independence_metropolis
from ._push import push_forward as push_forward
from ._quenched import quenched as quenched
from ._replica_exchange import replica_exchange as replica_exchange
from ._run_chain import run_chain as run_chain
from ._sample import sample as sample
from ._smc import smc as smc
from ._start import ChainState as ChainState
from ._start import fresh_state as fresh_state
from ._step_halving import StepHalvingReport as StepHalvingReport
from ._step_halving import step_halving as step_halving
from ._two_level import two_level as two_level
