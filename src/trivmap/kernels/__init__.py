"""Transition kernels: steps of Markov chains that leave exp(-S) invariant, with their state, and their compositions."""

from ._base import AbstractKernel as AbstractKernel
from ._base import AbstractMove as AbstractMove
from ._base import init_key as init_key
from ._base import reversible_kernel as reversible_kernel
from ._cluster import ClusterKernel as ClusterKernel
from ._composition import KernelSequence as KernelSequence
from ._composition import RandomMixture as RandomMixture
from ._composition import SymmetricSequence as SymmetricSequence
from ._heatbath import HeatbathKernel as HeatbathKernel
from ._heatbath import OverrelaxationKernel as OverrelaxationKernel
from ._hmc import HMCKernel as HMCKernel
from ._hmc import HMCState as HMCState
from ._integrator import INTEGRATORS as INTEGRATORS
from ._integrator import AbstractIntegrator as AbstractIntegrator
from ._integrator import NestedIntegrator as NestedIntegrator
from ._integrator import SymplecticIntegrator as SymplecticIntegrator
from ._integrator import integrator_of as integrator_of
from ._integrator import leapfrog as leapfrog
from ._integrator import omf2 as omf2
from ._integrator import omf4 as omf4
from ._molecular_dynamics import DEFAULT_SPREAD as DEFAULT_SPREAD
from ._molecular_dynamics import energy as energy
from ._molecular_dynamics import molecular_dynamics as molecular_dynamics
from ._molecular_dynamics import random_length as random_length
from ._part import OnComponent as OnComponent
from ._part import OnRegion as OnRegion
