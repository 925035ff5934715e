"""Files: what is written comes back bit for bit, and what was damaged never comes back."""

import dataclasses
import functools
import json
import os
import re
import sys

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import trivmap as tm
from trivmap.io import (
    CheckpointError,
    EnsembleFileError,
    atomic_path,
    file_kind,
    load,
    read_chain,
    read_checkpoint,
    read_ensemble,
    read_header,
    save,
    write_chain,
    write_checkpoint,
    write_ensemble,
)
from trivmap.statistics import Chain, Ensemble

U1, SU3 = tm.LinkField(tm.U1(), (2, 2)), tm.LinkField(tm.SU(3), (2, 2))
GAUGE, SCALAR = tm.WilsonAction(tm.U1(), (2, 2), beta=2.0), tm.Phi4Action((2, 4), m2=1.0, lam=1.0)
NOISING, LARGE = tm.stochastic.VariancePreserving(SCALAR.manifold), tm.LinkField(tm.SU(3), (4, 4))
HAAR, GAUSSIAN = tm.HaarPrior(U1), tm.GaussianPrior(SCALAR.manifold)

# One of each kind of static part: solvers, programs of loops, networks, masks, schedules, noise, stored configurations.
SAVED = {
    "gated": lambda: tm.Model(HAAR, tm.ContinuousFlow(tm.GatedConvolutionField(U1), steps=2)),
    "ladder": lambda: tm.Model(
        tm.HaarPrior(SU3), tm.ContinuousFlow(tm.LadderField(SU3, 1.5, gates=1, times=1, reach=1), steps=1)
    ),
    "loops": lambda: tm.Model(
        tm.HaarPrior(LARGE),
        tm.ContinuousFlow(
            tm.GradientField(tm.LoopPotential.model_a(tm.WilsonAction(tm.SU(3), (4, 4), 1.0))),
            steps=1,
            solver=tm.solvers.RKMK(diffrax.Dopri5(), LARGE),
        ),
    ),
    "coupling": lambda: tm.Model(GAUSSIAN, tm.CouplingFlow(jax.random.key(0), SCALAR.manifold, 2)),
    "spectral": lambda: tm.Model(tm.HaarPrior(SU3), tm.SpectralCouplingFlow(jax.random.key(0), SU3, 1)),
    "annealed": lambda: tm.Model(HAAR, tm.AnnealedFlow(HAAR, GAUGE, tm.kernels.HMCKernel(), 2)),
    "diffusion": lambda: tm.Model(
        GAUSSIAN, tm.ScoreDiffusion(NOISING, tm.ConvolutionField(jax.random.key(0), SCALAR.manifold), 2)
    ),
    "stored": lambda: tm.EnsemblePrior(SCALAR, np.ones((3, 2, 4))),
    "theory": lambda: tm.NonlinearSigmaModel(3, (2, 2), 1.0),
    "product": lambda: tm.U1HiggsAction((2, 2), beta=1.0, kappa=0.2, lam=0.5, m2=1.0),
    "region": lambda: tm.kernels.OnRegion(tm.lattice.slab((2, 4), 1, 0, 2), tm.kernels.HMCKernel()),
    "ensemble": lambda: tm.Ensemble(np.ones((3, 2)), np.zeros(3), {"a": np.ones(3)}, ("careful",)),
    "estimate": lambda: tm.Estimate(1.0, 0.1),
}


class Toy(eqx.Module):
    weight: jax.Array
    links: jax.Array
    key: jax.Array
    count: int
    name: str = eqx.field(static=True)


def make_toy(size: int, seed: int = 0) -> Toy:
    key = jax.random.key(seed)
    real = jax.random.normal(key, (size,), jnp.float64)
    return Toy(real, jax.lax.complex(real, -real), jax.random.fold_in(key, 3), 7, "toy")


def make_ensemble() -> Ensemble:
    rng = np.random.default_rng(0)
    return Ensemble(rng.normal(size=(50, 2, 4, 4)), rng.normal(size=50), {"plaquette": rng.normal(size=50)})


def make_chain() -> Chain:
    rng = np.random.default_rng(1)
    links = rng.normal(size=(2, 10, 2, 3, 3, 2, 2)) + 1j * rng.normal(size=(2, 10, 2, 3, 3, 2, 2))
    return Chain(
        links.astype(np.complex64),
        {"plaquette": rng.normal(size=(2, 10)), "two_point": rng.normal(size=(2, 10, 4))},
        accepted=rng.random((2, 10)) < 0.8,
        delta_h=rng.normal(size=(2, 10)),
        force_evaluations=11,
        unitarity_defect=1e-15,
    )


def flip(path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(bytes(data))


def assert_same_bits(a, b):
    if jnp.issubdtype(getattr(a, "dtype", float), jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    assert np.asarray(a).dtype == np.asarray(b).dtype
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_checkpoint_round_trip(tmp_path):
    tree = make_toy(5)
    write_checkpoint(tmp_path / "a.ckpt", tree, {"step": 12})
    for like in (make_toy(5, seed=1), eqx.filter_eval_shape(make_toy, 5, 1)):
        back, header = read_checkpoint(tmp_path / "a.ckpt", like)
        jax.tree.map(assert_same_bits, tree, back)
        assert jax.tree.structure(back) == jax.tree.structure(tree)
        assert header["step"] == 12
        assert header["versions"]["jax"] == jax.__version__
        # the key still is a key, and gives the same numbers
        assert_same_bits(jax.random.normal(back.key), jax.random.normal(tree.key))


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg"])
def test_checkpoint_keeps_the_kind_of_a_key(tmp_path, implementation):
    key = jax.random.key(5, impl=implementation)
    write_checkpoint(tmp_path / "k", {"key": key})
    back, _ = read_checkpoint(tmp_path / "k", {"key": jax.random.key(0, impl=implementation)})
    assert_same_bits(back["key"], key)
    other = {"threefry2x32": "rbg", "rbg": "threefry2x32"}[implementation]
    with pytest.raises(CheckpointError, match="key"):
        read_checkpoint(tmp_path / "k", {"key": jax.random.key(0, impl=other)})


def double(x):
    return 2 * x


def test_save_and_load_a_class_of_ones_own(tmp_path):
    model = make_toy(6, seed=4)
    save(tmp_path / "m", model, step=3)
    with pytest.raises(CheckpointError, match=r"Toy, which is not of this package: give load\(..., classes=\[Toy\]\)"):
        load(tmp_path / "m")
    back = load(tmp_path / "m", classes=[Toy])
    jax.tree.map(assert_same_bits, model, back)
    assert jax.tree.structure(back) == jax.tree.structure(model)
    assert read_header(tmp_path / "m")["step"] == 3
    with pytest.raises(ValueError, match="already has .*leaves"):
        save(tmp_path / "m", model, leaves=1)


@pytest.mark.parametrize(
    "tree",
    [
        {"a": [jnp.arange(3.0), (1, 2.5, -float("inf"), 1j, None, "x")], "b": np.arange(4, dtype=np.int8), "c": {3: True}},
        [jax.nn.gelu, jnp.tanh, jax.nn.relu, tm.plaquette, double, np.dtype("float32"), slice(1, None)],
        functools.partial(tm.reverse_kl, 3.0, x=jnp.ones(2)),
        optax.adam(1e-3).init({"w": jnp.ones(3)}),
        frozenset({1, 2}),
    ],
)
def test_save_and_load_plain_trees(tmp_path, tree):
    save(tmp_path / "t", tree)
    back = load(tmp_path / "t", classes=[double])
    if isinstance(tree, functools.partial):
        back, tree = ((p.func, p.args, p.keywords) for p in (back, tree))
    jax.tree.map(lambda a, b: assert_same_bits(a, b) if eqx.is_array_like(a) else None, tree, back)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    assert [leaf for leaf in jax.tree.leaves(back) if callable(leaf)] == [
        leaf for leaf in jax.tree.leaves(tree) if callable(leaf)
    ]


@pytest.mark.parametrize("name", SAVED)
def test_save_and_load_models(tmp_path, name):
    """The loaded model is the saved one for JAX: the same structure, static parts included, and the same bits."""
    model = SAVED[name]()
    save(tmp_path / "m", model)
    back = load(tmp_path / "m")
    assert jax.tree.structure(back) == jax.tree.structure(model)
    jax.tree.map(assert_same_bits, *(eqx.filter(m, eqx.is_array_like) for m in (model, back)))
    if isinstance(model, tm.models.AbstractModel):
        (x, log_q), (y, log_p) = (m.sample_and_log_prob(jax.random.key(3)) for m in (model, back))
        assert_same_bits(x, y)
        assert_same_bits(log_q, log_p)


def test_save_names_what_it_cannot_describe(tmp_path):
    with pytest.raises(TypeError, match=r"the tree\['f'\] is .*lambda.*write_checkpoint"):
        save(tmp_path / "f", {"f": lambda x: x})
    assert not (tmp_path / "f").exists()
    write_checkpoint(tmp_path / "n", {"x": 1.0})
    with pytest.raises(CheckpointError, match="without their structure"):
        load(tmp_path / "n")


def test_load_refuses_a_class_with_other_fields(tmp_path):
    @dataclasses.dataclass
    class Renamed:
        other: int = 0

    save(tmp_path / "m", make_toy(3))
    Renamed.__module__, Renamed.__qualname__ = Toy.__module__, "Toy"
    module = sys.modules[Toy.__module__]
    before, module.Toy = module.Toy, Renamed
    try:
        with pytest.raises(CheckpointError, match=r"has the fields \['other'\], the file \['count', 'key'"):
            load(tmp_path / "m", classes=[Renamed])
    finally:
        module.Toy = before


def test_checkpoint_refuses_any_flipped_byte(tmp_path):
    path = tmp_path / "a.ckpt"
    write_checkpoint(path, make_toy(3), {"step": 1})
    size = path.stat().st_size
    for position in [*range(0, 64), *range(64, size, 37), size - 1]:
        flip(path, position)
        with pytest.raises(CheckpointError, match=r"damaged|not a trivmap checkpoint"):
            read_checkpoint(path, make_toy(3))
        flip(path, position)
    read_checkpoint(path, make_toy(3))


def test_a_checkpoint_that_lacks_a_frozen_coupling_is_read(tmp_path):
    """Earlier versions had the beta of a LadderField in the code; a parameter that is missing is refused as before."""

    def build(config):
        manifold = tm.LinkField(tm.SU(2), (2, 2))
        field = tm.LadderField(manifold, config["beta"], gates=1, times=1, reach=1)
        return tm.Model(tm.HaarPrior(manifold), tm.ContinuousFlow(field, steps=1))

    config, path = {"beta": 1.5}, tmp_path / "model.ckpt"
    model = jax.tree.map(lambda a: a + 1 if eqx.is_inexact_array(a) and a.ndim else a, build(config))
    write_checkpoint(path, eqx.tree_at(lambda m: m.transport.field.beta, model, None))
    loaded, _ = read_checkpoint(path, build(config))
    assert eqx.tree_equal(loaded, model)
    write_checkpoint(path, eqx.tree_at(lambda m: m.transport.field.gates, model, None))
    with pytest.raises(CheckpointError, match="gates"):
        read_checkpoint(path, build(config))


@pytest.mark.parametrize("keep", [0, 3, 8, 30, 47, 100, -1])
def test_checkpoint_refuses_a_truncated_file(tmp_path, keep):
    path = tmp_path / "a.ckpt"
    write_checkpoint(path, make_toy(3))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        read_header(path)


def test_checkpoint_refuses_other_files(tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        read_header(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_header(tmp_path)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(CheckpointError, match="not a trivmap checkpoint"):
        read_header(tmp_path / "text")


def test_checkpoint_of_another_structure_names_the_first_difference(tmp_path):
    path = tmp_path / "a.ckpt"
    write_checkpoint(path, make_toy(5))
    with pytest.raises(CheckpointError, match=r"stored \.weight float64\[5\], expected \.weight float64\[6\]"):
        read_checkpoint(path, make_toy(6))
    with pytest.raises(CheckpointError, match="4 leaves, expected 1"):
        read_checkpoint(path, {"weight": jnp.zeros(5)})
    with pytest.raises(CheckpointError, match="expected nothing"):
        read_checkpoint(path, jax.tree.map(lambda x: x, eqx.tree_at(lambda t: t.count, make_toy(5), None)))
    single = eqx.tree_at(lambda t: t.weight, make_toy(5), jnp.zeros(5, jnp.float32))
    with pytest.raises(CheckpointError, match="Switch x64 on or off"):
        read_checkpoint(path, single)


def test_interrupted_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_ensemble_round_trip(tmp_path):
    ensemble = make_ensemble()
    write_ensemble(tmp_path / "e.h5", ensemble, {"theory": "u1", "beta": 2.0, "seed": 5})
    back, attributes = read_ensemble(tmp_path / "e.h5")
    assert_same_bits(ensemble.configurations, back.configurations)
    assert_same_bits(ensemble.log_weights, back.log_weights)
    assert_same_bits(ensemble.observables["plaquette"], back.observables["plaquette"])
    assert (attributes["theory"], attributes["beta"], attributes["seed"]) == ("u1", 2.0, 5)
    assert attributes["versions"]["trivmap"]
    assert file_kind(tmp_path / "e.h5") == "ensemble"


def test_ensemble_without_configurations_and_chain_round_trip(tmp_path):
    write_ensemble(tmp_path / "e.h5", Ensemble(None, np.zeros(3), {}))
    back, _ = read_ensemble(tmp_path / "e.h5")
    assert back.configurations is None
    assert len(back) == 3

    chain = make_chain()
    write_chain(tmp_path / "c.h5", chain)
    copy, _ = read_chain(tmp_path / "c.h5")
    for name in ("configurations", "accepted", "delta_h"):
        assert_same_bits(getattr(chain, name), getattr(copy, name))
    assert copy.indices is None
    assert (copy.force_evaluations, copy.unitarity_defect) == (11, 1e-15)
    assert_same_bits(chain.observables["two_point"], copy.observables["two_point"])
    with pytest.raises(EnsembleFileError, match="holds 'chain', expected 'ensemble'"):
        read_ensemble(tmp_path / "c.h5")


def test_ensemble_file_is_chunked_along_the_samples(tmp_path):
    import h5py

    write_ensemble(tmp_path / "e.h5", Ensemble(np.zeros((500, 1000)), np.zeros(500), {}))
    with h5py.File(tmp_path / "e.h5") as file:
        assert file["configurations"].chunks == ((1 << 20) // 8000, 1000)  # pyright: ignore


def test_damaged_ensemble_never_returns_other_numbers(tmp_path):
    """HDF5 has unused bytes: a flip is either refused or changes nothing that is returned."""
    path = tmp_path / "e.h5"
    ensemble = make_ensemble()
    write_ensemble(path, ensemble, {"beta": 2.0})
    size, refused = path.stat().st_size, 0
    # Configurations are 12800 of the bytes, so that most flips hit data.
    positions = range(0, size, 61)
    for position in positions:
        flip(path, position)
        try:
            back, attributes = read_ensemble(path)
        except EnsembleFileError:
            refused += 1
        else:
            assert_same_bits(ensemble.configurations, back.configurations)
            assert_same_bits(ensemble.log_weights, back.log_weights)
            assert attributes["beta"] == 2.0
        flip(path, position)
    assert refused > 0.8 * 12800 / size * len(positions)


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.999])
def test_truncated_ensemble_is_refused(tmp_path, fraction):
    path = tmp_path / "e.h5"
    write_ensemble(path, make_ensemble())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
    with pytest.raises(EnsembleFileError, match="not an intact HDF5 file"):
        read_ensemble(path)


def test_other_hdf5_files_are_refused(tmp_path):
    import h5py

    with pytest.raises(EnsembleFileError, match="no such file"):
        read_ensemble(tmp_path / "none.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(EnsembleFileError, match="no trivmap header"):
        read_ensemble(tmp_path / "other.h5")


def test_headers_are_plain_json(tmp_path):
    write_checkpoint(tmp_path / "a", make_toy(2), {"config": {"beta": 2.0}})
    assert json.loads(json.dumps(read_header(tmp_path / "a")))["config"] == {"beta": 2.0}
