"""Sampling lattice field theories with generative flows: exact weights, counted costs, fair comparison with Monte Carlo.

What a script of thirty lines needs is here. The rest is one level down, by layer: `tm.fields.NeuralPotential`,
`tm.solvers.CF4`, `tm.transforms.Moebius`, `tm.objectives.log_variance`, `tm.observables.clover_charge`,
`tm.statistics.jackknife`, `tm.io.read_nersc`, `tm.exact.log_z`.
"""

from . import _program as _program  # isort: skip  # before the imports that take seconds
from . import fermions as fermions
from . import fields as fields
from . import flows as flows
from . import gauge as gauge
from . import groups as groups
from . import io as io
from . import kernels as kernels
from . import lattice as lattice
from . import manifolds as manifolds
from . import models as models
from . import observables as observables
from . import priors as priors
from . import samplers as samplers
from . import solvers as solvers
from . import statistics as statistics
from . import stochastic as stochastic
from . import theories as theories
from . import training as training
from . import transforms as transforms
from .fields import ConvolutionField as ConvolutionField
from .fields import GatedConvolutionField as GatedConvolutionField
from .fields import GradientField as GradientField
from .fields import LadderField as LadderField
from .fields import LoopPotential as LoopPotential
from .flows import ContinuousFlow as ContinuousFlow
from .flows import CouplingFlow as CouplingFlow
from .flows import FlowSequence as FlowSequence
from .flows import GaugeCouplingFlow as GaugeCouplingFlow
from .flows import ResidualFlow as ResidualFlow
from .flows import SpectralCouplingFlow as SpectralCouplingFlow
from .groups import SU as SU
from .groups import U1 as U1
from .io import load as load
from .io import read_chain as read_chain
from .io import read_ensemble as read_ensemble
from .io import save as save
from .io import write_chain as write_chain
from .io import write_ensemble as write_ensemble
from .manifolds import LinkField as LinkField
from .manifolds import ProductManifold as ProductManifold
from .manifolds import RealField as RealField
from .manifolds import SphereField as SphereField
from .models import ConditionalModel as ConditionalModel
from .models import Model as Model
from .models import load_pretrained as load_pretrained
from .observables import magnetisation as magnetisation
from .observables import plaquette as plaquette
from .observables import topological_charge as topological_charge
from .observables import wilson_loop as wilson_loop
from .priors import EnsemblePrior as EnsemblePrior
from .priors import GaussianPrior as GaussianPrior
from .priors import HaarPrior as HaarPrior
from .priors import ProductPrior as ProductPrior
from .samplers import heatbath as heatbath
from .samplers import hmc as hmc
from .samplers import independence_metropolis as independence_metropolis
from .samplers import push_forward as push_forward
from .samplers import replica_exchange as replica_exchange
from .samplers import run_chain as run_chain
from .samplers import sample as sample
from .samplers import smc as smc
from .samplers import step_halving as step_halving
from .statistics import Chain as Chain
from .statistics import Ensemble as Ensemble
from .statistics import Estimate as Estimate
from .statistics import acceptance_rate as acceptance_rate
from .statistics import ess_fraction as ess_fraction
from .statistics import expectation as expectation
from .statistics import log_z as log_z
from .statistics import n_eff as n_eff
from .stochastic import AnnealedFlow as AnnealedFlow
from .stochastic import LangevinFlow as LangevinFlow
from .stochastic import ScoreDiffusion as ScoreDiffusion
from .theories import AbstractTheory as AbstractTheory
from .theories import NonlinearSigmaModel as NonlinearSigmaModel
from .theories import Phi4Action as Phi4Action
from .theories import ScalarYukawaAction as ScalarYukawaAction
from .theories import SchwingerAction as SchwingerAction
from .theories import U1HiggsAction as U1HiggsAction
from .theories import WilsonAction as WilsonAction
from .theories import exact as exact
from .training import GaussNewton as GaussNewton
from .training import fit as fit
from .training import gauss_newton as gauss_newton
from .training import missing_directions as missing_directions
from .training import objectives as objectives
from .training import reverse_kl as reverse_kl
from .training import transfer as transfer


def __getattr__(name: str):
    """Says where a name of the layers is, to who looks for it here."""
    import types

    layers = {layer: value for layer, value in globals().items() if isinstance(value, types.ModuleType) and layer[0] != "_"}
    found = [f"trivmap.{layer}.{name}" for layer, value in layers.items() if name[0] != "_" and hasattr(value, name)]
    where = f": it is {' or '.join(found)}" if found else ""
    raise AttributeError(f"module 'trivmap' has no attribute {name!r}{where}")
