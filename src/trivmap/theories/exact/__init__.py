"""Exact results where they are known: functions of a theory, in float64 whatever JAX's precision.

Two-dimensional U(1), also with a theta term, and SU(N) gauge theory on the torus (character expansion), the free scalar in
any dimension, phi^4 on one site, on chains and on two-dimensional lattices up to width 8 (transfer matrix), O(n) models on
chains (expansion in harmonics). Anything else raises `NoExactResultError`. Couplings are taken as stored: a float32
`beta=1.1` is 1.10000002.
"""

from . import _infinite_volume as infinite_volume
from ._errors import NoExactResultError as NoExactResultError
from ._functions import abs_magnetisation as abs_magnetisation
from ._functions import action_variance as action_variance
from ._functions import average_phase as average_phase
from ._functions import binder_cumulant as binder_cumulant
from ._functions import charge_distribution as charge_distribution
from ._functions import charge_moment as charge_moment
from ._functions import charge_squared as charge_squared
from ._functions import entropy as entropy
from ._functions import ising_energy as ising_energy
from ._functions import log_z as log_z
from ._functions import magnetisation as magnetisation
from ._functions import mean_action as mean_action
from ._functions import phi_fourth as phi_fourth
from ._functions import phi_moment as phi_moment
from ._functions import phi_squared as phi_squared
from ._functions import plaquette as plaquette
from ._functions import pole_mass as pole_mass
from ._functions import polyakov_correlator as polyakov_correlator
from ._functions import polyakov_loop_squared as polyakov_loop_squared
from ._functions import propagator as propagator
from ._functions import strong_coupling_plaquette as strong_coupling_plaquette
from ._functions import susceptibility as susceptibility
from ._functions import two_point as two_point
from ._functions import wilson_loop as wilson_loop
from ._one_matrix import OneMatrixModel as OneMatrixModel
from ._sample import sample as sample

__all__ = ["infinite_volume"]
