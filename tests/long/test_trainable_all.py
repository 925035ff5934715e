"""Every objective on every transport that it suits: physics is never trained."""

import itertools

import pytest
from test_trainable import COVER, DENSITY, PAIRS, SYMMETRISED, check_log_z, check_symmetrised, check_training


@pytest.mark.parametrize(("name", "objective"), [pair for pair in PAIRS if pair not in COVER])
def test_training_leaves_physics_bit_for_bit(name, objective):
    check_training(name, objective)


@pytest.mark.parametrize(("transport", "objective"), list(itertools.product(SYMMETRISED, DENSITY)))
def test_a_symmetrised_model_is_trained(transport, objective):
    check_symmetrised(transport, objective)


def test_log_z_of_populations_from_stored_configurations_after_training():
    check_log_z("stored")
