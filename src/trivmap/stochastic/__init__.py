"""Transports with noise and exact path weights."""

from ._annealed import AnnealedFlow as AnnealedFlow
from ._annealed import stack_layers as stack_layers
from ._base import AbstractStochasticFlow as AbstractStochasticFlow
from ._continuity import continuity_residual as continuity_residual
from ._diffusion import ProbabilityFlowField as ProbabilityFlowField
from ._diffusion import ScoreDiffusion as ScoreDiffusion
from ._heat_kernel import brownian_motion as brownian_motion
from ._heat_kernel import heat_kernel_score as heat_kernel_score
from ._heat_kernel import log_heat_kernel as log_heat_kernel
from ._langevin import LangevinFlow as LangevinFlow
from ._matching import FlowMatching as FlowMatching
from ._matching import ScoreMatching as ScoreMatching
from ._noising import AbstractNoising as AbstractNoising
from ._noising import HeatKernelNoising as HeatKernelNoising
from ._noising import SubVariancePreserving as SubVariancePreserving
from ._noising import VarianceExploding as VarianceExploding
from ._noising import VariancePreserving as VariancePreserving
from ._path import Interpolation as Interpolation
from ._path import Schedule as Schedule
from ._path import interpolate as interpolate
from ._plaquette_score import plaquette_score as plaquette_score
from ._population import Population as Population
from ._population import craft as craft
from ._population import run_population as run_population
from ._sequence import StochasticSequence as StochasticSequence
from ._sequence import UpdateFlow as UpdateFlow
