"""Estimates with errors: weights of flow ensembles, autocorrelations of chains, resampling."""

from ._autocorrelation import Autocorrelation as Autocorrelation
from ._autocorrelation import analyse_autocorrelation as analyse_autocorrelation
from ._chain import acceptance_rate as acceptance_rate
from ._chain import creutz as creutz
from ._chain import longest_rejection as longest_rejection
from ._chain import n_eff as n_eff
from ._correlator_fit import CorrelatorFit as CorrelatorFit
from ._correlator_fit import fit_correlator as fit_correlator
from ._data import Chain as Chain
from ._data import Ensemble as Ensemble
from ._estimate import Estimate as Estimate
from ._estimate import format_estimate as format_estimate
from ._estimate import merged_cautions as merged_cautions
from ._expectation import expectation as expectation
from ._expectation import measure as measure
from ._gamma import autocorrelation as autocorrelation
from ._gamma import gamma_method as gamma_method
from ._resample import bootstrap as bootstrap
from ._resample import jackknife as jackknife
from ._stored import StoredConfigurations as StoredConfigurations
from ._weights import ess_fraction as ess_fraction
from ._weights import expected_acceptance as expected_acceptance
from ._weights import forward_ess as forward_ess
from ._weights import log_z as log_z
from ._weights import lognormal_acceptance as lognormal_acceptance
from ._weights import normalised_weights as normalised_weights
