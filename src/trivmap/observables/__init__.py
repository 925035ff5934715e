"""Observables of one configuration, and functions of their means."""

from ._clover import clover_charge as clover_charge
from ._derived import DerivedObservable as DerivedObservable
from ._derived import binder_cumulant as binder_cumulant
from ._derived import connected_susceptibility as connected_susceptibility
from ._derived import effective_mass as effective_mass
from ._derived import pole_mass as pole_mass
from ._derived import second_moment_mass as second_moment_mass
from ._links import link_group as link_group
from ._loops import plaquette as plaquette
from ._loops import topological_charge as topological_charge
from ._loops import wilson_loop as wilson_loop
from ._polyakov import polyakov_correlator as polyakov_correlator
from ._polyakov import polyakov_lines as polyakov_lines
from ._polyakov import polyakov_loop as polyakov_loop
from ._quarks import ChiralCondensate as ChiralCondensate
from ._quarks import MesonCorrelators as MesonCorrelators
from ._quarks import pcac_mass as pcac_mass
from ._quarks import spectral_index as spectral_index
from ._quarks import stochastic_condensate as stochastic_condensate
from ._scalar import ising_energy as ising_energy
from ._scalar import magnetisation as magnetisation
from ._scalar import moment as moment
from ._scalar import susceptibility as susceptibility
from ._scalar import two_point as two_point
