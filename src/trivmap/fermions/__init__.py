"""Quarks on a lattice: Wilson-Dirac operators, their even-odd form, determinants and solvers.

Spinors are `(spin, colour, *lattice)`, links as everywhere in the library; signs of the boundary are multiplied to the
links once, in `transporters`.
"""

from ._colour_couplings import AbstractHops as AbstractHops
from ._colour_couplings import ColourCouplings as ColourCouplings
from ._colour_couplings import PolynomialHops as PolynomialHops
from ._colour_couplings import TransportHops as TransportHops
from ._determinant import log_det as log_det
from ._determinant import log_det_method as log_det_method
from ._even_odd import EvenOddDirac as EvenOddDirac
from ._gamma import apply_gamma_five as apply_gamma_five
from ._gamma import gamma_five as gamma_five
from ._gamma import gamma_matrices as gamma_matrices
from ._hasenbusch import HasenbuschPreconditioner as HasenbuschPreconditioner
from ._incomplete_lu import IncompleteLU as IncompleteLU
from ._inverse_form import Accuracy as Accuracy
from ._inverse_form import apply_inverse as apply_inverse
from ._inverse_form import inverse_form as inverse_form
from ._inverse_form import rational_form as rational_form
from ._inverse_form import solve_fraction as solve_fraction
from ._inverse_form import solve_normal as solve_normal
from ._multi_shift import multi_shift as multi_shift
from ._preconditioner import AbstractPreconditioner as AbstractPreconditioner
from ._preconditioner import AbstractSpinorMap as AbstractSpinorMap
from ._preconditioner import IdentityMap as IdentityMap
from ._preconditioner import IdentityPreconditioner as IdentityPreconditioner
from ._preconditioner import PreconditionedDirac as PreconditionedDirac
from ._rational import RationalPower as RationalPower
from ._rational import zolotarev as zolotarev
from ._root_forms import conditional_ess as conditional_ess
from ._root_forms import root_forms as root_forms
from ._solve import NotConvergedError as NotConvergedError
from ._solve import Solution as Solution
from ._solve import solve as solve
from ._spectrum import spectral_interval as spectral_interval
from ._wilson_dirac import CriticalKappaWarning as CriticalKappaWarning
from ._wilson_dirac import WilsonDirac as WilsonDirac
