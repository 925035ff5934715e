"""Archives, growing ensembles and recipes: what is stored comes back, and damage is seen."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import random_links

import trivmap as tm
from trivmap.io import (
    EnsembleFileError,
    GaugeFileError,
    Recipe,
    append_ensemble,
    ensemble_attributes,
    from_matrix_last,
    read_ensemble,
    read_npz,
    read_recipe,
    to_matrix_last,
    write_chain,
    write_ensemble,
    write_npz,
    write_recipe,
)
from trivmap.statistics import Chain, Ensemble

SMALL = (2, 1, 2, 3)


def test_matrix_last():
    links = np.stack([random_links(SMALL, 2, seed=s) for s in range(3)])
    last = to_matrix_last(links, batch_axes=1)
    assert last.shape == (3, 4, *SMALL, 2, 2)
    np.testing.assert_array_equal(last[1, 2, 1, 0, 1, 2], links[1, 2, :, :, 1, 0, 1, 2])
    np.testing.assert_array_equal(from_matrix_last(last, batch_axes=1), links)
    np.testing.assert_array_equal(from_matrix_last(to_matrix_last(links[0])), links[0])
    with pytest.raises(ValueError, match="batch_axes=0"):
        to_matrix_last(links)


def test_npz(tmp_path):
    links = np.stack([random_links(SMALL, 2, seed=s) for s in range(3)])
    ensemble = Ensemble(links, np.arange(3.0), {"plaquette": np.ones(3)})
    write_npz(tmp_path / "a.npz", ensemble)
    assert np.load(tmp_path / "a.npz")["configurations"].shape == (3, 4, *SMALL, 2, 2)
    back = read_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(back.configurations, links)
    assert list(back.observables) == ["plaquette"]
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-100])
    with pytest.raises(GaugeFileError, match="not an intact archive"):
        read_npz(tmp_path / "b.npz")


def make_ensemble(n, seed):
    rng = np.random.default_rng(seed)
    return Ensemble(rng.normal(size=(n, 2, 2, 3)), rng.normal(size=n), {"plaquette": rng.normal(size=(n, 2))})


def test_ensembles_grow(tmp_path):
    path, parts = tmp_path / "a.h5", [make_ensemble(n, n) for n in (5, 1, 7)]
    attributes = {"theory": "x", "extents": (2, 3)}
    for part in parts:
        append_ensemble(path, part, attributes)
    back, found = read_ensemble(path)
    np.testing.assert_array_equal(back.log_weights, np.concatenate([p.log_weights for p in parts]))
    np.testing.assert_array_equal(back.configurations, np.concatenate([p.configurations for p in parts]))
    np.testing.assert_array_equal(back.observables["plaquette"][5:6], parts[1].observables["plaquette"])
    assert found["theory"] == "x"
    before = path.read_bytes()
    for wrong, attributes, reason in (
        (Ensemble(None, np.zeros(2)), None, "cannot append"),
        (parts[0], {"theory": "y"}, "not of"),
    ):
        with pytest.raises(EnsembleFileError, match=reason):
            append_ensemble(path, wrong, attributes)
    assert path.read_bytes() == before
    import h5py

    for name in ("log_weights", "configurations"):  # a changed number in the first and in the last segment
        for row in (0, 12):
            path.write_bytes(before)
            with h5py.File(path, "r+") as file:
                file[name][row] += 1.0
            with pytest.raises(EnsembleFileError, match="checksum is wrong"):
                read_ensemble(path)


@pytest.mark.parametrize("writer", [write_ensemble, append_ensemble, write_npz, write_chain])
def test_ensembles_and_chains_have_their_own_writers(writer, tmp_path):
    ensemble, chain = make_ensemble(3, 0), Chain(None, {"plaquette": np.zeros((2, 5))})
    given, expected = (ensemble, "Chain") if writer is write_chain else (chain, "Ensemble")
    with pytest.raises(TypeError, match=f"{writer.__name__}: got {type(given).__name__}, expected {expected}; write_"):
        inspect.unwrap(writer)(tmp_path / "a.h5", given)  # as without the run-time type checks of the tests
    assert not list(tmp_path.iterdir())


def test_an_empty_ensemble_grows(tmp_path):
    part = make_ensemble(0, 3)
    for start in (part[:0], part[:0][:0]):
        append_ensemble(tmp_path / "a.h5", start)
    append_ensemble(tmp_path / "a.h5", part)
    np.testing.assert_array_equal(read_ensemble(tmp_path / "a.h5")[0].configurations, part.configurations)


def test_attributes_may_be_numbers_of_arrays(tmp_path):
    attributes = {"extent": np.int64(4), "beta": np.float32(0.5), "m2": jax.numpy.asarray(2.0), "cold": np.True_, 1: (2, 3)}
    for _ in range(2):
        append_ensemble(tmp_path / "a.h5", make_ensemble(0, 3), attributes)
    found = read_ensemble(tmp_path / "a.h5")[1]
    expected = {"extent": 4, "beta": 0.5, "m2": 2.0, "cold": True, "1": [2, 3]}
    assert {name: found[name] for name in expected} == expected
    with pytest.raises(TypeError, match="attributes are JSON values"):
        append_ensemble(tmp_path / "b.h5", make_ensemble(0, 3), {"cold": {1}})
    assert not (tmp_path / "b.h5").exists()


def test_attributes_name_theory_seed_and_plaquette(tmp_path):
    theory = tm.WilsonAction(tm.SU(2), (2, 2), beta=2.5)
    links = np.stack([random_links((2, 2, 1, 1), 2)[:2, ..., 0, 0]] * 2)
    ensemble = Ensemble(links, np.zeros(2))
    attributes = ensemble_attributes(theory, ensemble, seed=3)
    assert attributes["theory"] == {"name": "WilsonAction", "lattice": [2, 2], "group": "SU(2)", "beta": 2.5}
    assert attributes["seed"] == 3
    assert attributes["plaquette"] == pytest.approx(float(tm.plaquette(jnp.asarray(links[0]))), rel=1e-12)
    assert "plaquette" in ensemble_attributes(theory, Chain(None, {"plaquette": np.ones((1, 5))}))
    write_ensemble(tmp_path / "a.h5", ensemble, attributes)
    found = read_ensemble(tmp_path / "a.h5")[1]
    assert found["plaquette"] == attributes["plaquette"]
    assert "trivmap" in found["versions"]


def build(config):
    theory = tm.Phi4Action(tuple(config["lattice"]), m2=config["m2"], lam=1.0)
    prior = tm.GaussianPrior(theory.manifold, width=config["width"])
    return tm.Model(prior, tm.flows.Rescaling(theory.manifold)), theory


def test_recipe_draws_the_same_bits(tmp_path):
    config = {"lattice": [3, 4], "m2": 1.0, "width": 0.5}
    model, theory = build(config)
    key = jax.random.key(7)
    ensemble = tm.sample(key, model, theory, 50, batch_size=16)
    write_recipe(tmp_path / "a.recipe", Recipe(model, theory, key, 50, batch_size=16))
    recipe = read_recipe(tmp_path / "a.recipe")
    for start, stop in ((0, 50), (17, 18), (30, 50)):
        part = recipe.sample(start, stop)
        np.testing.assert_array_equal(part.configurations, ensemble.configurations[start:stop])
        np.testing.assert_array_equal(part.log_weights, ensemble.log_weights[start:stop])
    with pytest.raises(ValueError, match="no range from 10 to 60"):
        recipe.sample(10, 60)
