"""Lattice field theories: an action on a manifold of configurations."""

from ._base import AbstractTheory as AbstractTheory
from ._base import coupling as coupling
from ._base import number as number
from ._conditional import ComponentTheory as ComponentTheory
from ._conditional import RegionTheory as RegionTheory
from ._extended import ExtendedTheory as ExtendedTheory
from ._fermion_determinant import FermionDeterminant as FermionDeterminant
from ._free_scalar import FreeScalarAction as FreeScalarAction
from ._matrix import MatrixAction as MatrixAction
from ._nonlinear_sigma import NonlinearSigmaModel as NonlinearSigmaModel
from ._phi4 import Phi4Action as Phi4Action
from ._pseudofermions import AbstractPseudofermion as AbstractPseudofermion
from ._pseudofermions import PseudofermionAction as PseudofermionAction
from ._pseudofermions import PseudofermionRatio as PseudofermionRatio
from ._rational_pseudofermions import RationalPseudofermionAction as RationalPseudofermionAction
from ._replicas import Replicas as Replicas
from ._scalar_yukawa import ScalarYukawaAction as ScalarYukawaAction
from ._schwinger import SchwingerAction as SchwingerAction
from ._stochastic_determinant import StochasticDeterminant as StochasticDeterminant
from ._sum import SumTheory as SumTheory
from ._theta import ThetaTerm as ThetaTerm
from ._twist_average import TwistAverage as TwistAverage
from ._u1_higgs import U1HiggsAction as U1HiggsAction
from ._weighted_wilson import WeightedWilsonAction as WeightedWilsonAction
from ._wilson import WilsonAction as WilsonAction
