"""Files that somebody made to do harm, or that were damaged: each reader refuses them by its own error, and at once."""

import hashlib
import io
import json
import os
import struct
import tracemalloc
import zipfile

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gauge_files import lime_record, nersc_bytes
from helpers import random_links

import trivmap as tm
from trivmap.io import (
    CheckpointError,
    EnsembleFileError,
    GaugeFileError,
    append_ensemble,
    file_kind,
    read_chain,
    read_checkpoint,
    read_ensemble,
    read_header,
    read_ildg,
    read_nersc,
    read_npz,
    read_recipe,
    write_chain,
    write_checkpoint,
    write_ensemble,
    write_npz,
    write_recipe,
)
from trivmap.io._hdf5 import _digest, _sign
from trivmap.io._hdf5_image import seal
from trivmap.statistics import Chain, Ensemble

DEEP = "[" * 100_000
MOST = 30 << 20  # bytes that a reader may take for a file of a few kB


def make_ensemble(n=20):
    rng = np.random.default_rng(n)
    return Ensemble(rng.normal(size=(n, 2, 3)), rng.normal(size=n), {"plaquette": rng.normal(size=n)})


def unsealed_file(changes=lambda file: None, header=None):
    """An ensemble as earlier versions wrote it, its checksums made after the changes."""
    ensemble = make_ensemble()
    data = {"configurations": ensemble.configurations, "log_weights": ensemble.log_weights}
    data["observables/plaquette"] = ensemble.observables["plaquette"]
    full = {"format": 2, "kind": "ensemble", "numbers": {}, "versions": {}, "data": sorted(data), "attributes": {"beta": 2.0}}
    encoded = header if isinstance(header, str) else json.dumps(full | (header or {}))
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        for name, value in data.items():
            file.create_dataset(name, data=value, chunks=value.shape, maxshape=(None, *value.shape[1:]))
        file.attrs["trivmap"] = encoded
        _sign(file, encoded, [[len(ensemble), _digest(encoded, data)]])
        changes(file)
    return image.getvalue()


def sealed_file(*args, **options):
    image = unsealed_file(*args, **options)
    return seal(image) + image


def instead(make, name="log_weights"):
    def change(file):
        del file[name]
        make(file, name)

    return change


def link(make):
    return instead(lambda file, name: file.__setitem__(name, make))


def virtual(file, name):
    layout = h5py.VirtualLayout((20,), "f8")
    layout[:] = h5py.VirtualSource("victim.h5", "log_weights", (20,))
    file.create_virtual_dataset(name, layout)


def refused(function, error, path, **match):
    """The call raises this error, quickly and without much memory."""
    tracemalloc.start()
    try:
        with pytest.raises(error, **match) as caught:
            function(path)
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


STRUCTURES = {
    "external link": (link(h5py.ExternalLink("victim.h5", "/log_weights")), "is a link"),
    "soft link": (link(h5py.SoftLink("/observables/plaquette")), "is a link"),
    "group behind a link": (instead(lambda f, n: f.__setitem__(n, h5py.SoftLink("/")), "observables"), "is a link"),
    "external storage": (
        instead(lambda f, n: f.create_dataset(n, (20,), "f8", external=[("victim.h5", 0, 160)])),
        "in other files",
    ),
    "virtual": (instead(virtual), "in other files"),
    "40 GB": (
        instead(lambda f, n: f.create_dataset(n, (5 * 10**9,), "f8", chunks=(1000,), maxshape=(None,))),
        "claims more data",
    ),
    "chunk of 3 GB": (
        instead(lambda f, n: f.create_dataset(n, (20,), "f8", chunks=(4 * 10**8,), maxshape=(None,))),
        "claims more data",
    ),
    "zeros compressed": (
        instead(lambda f, n: f.create_dataset(n, data=np.zeros(10**6), compression=9, maxshape=(None,))),
        "compressed",
    ),
    "texts": (instead(lambda f, n: f.create_dataset(n, data=["a"] * 20)), "no array of numbers"),
    "group": (instead(lambda f, n: f.create_group(n)), "no array of numbers"),
    "nothing": (instead(lambda f, n: None), "has no 'log_weights'"),
    "shorter": (instead(lambda f, n: f.create_dataset(n, data=np.zeros(3), maxshape=(None,))), "checksum is wrong"),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_hdf5_structures(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_ensemble("victim.h5", make_ensemble())
    victim = (tmp_path / "victim.h5").read_bytes()
    change, why = STRUCTURES[name]
    (tmp_path / "evil.h5").write_bytes(sealed_file(change))
    refused(read_ensemble, EnsembleFileError, "evil.h5", match=why)
    refused(lambda path: append_ensemble(path, make_ensemble(5)), EnsembleFileError, "evil.h5")
    assert (tmp_path / "victim.h5").read_bytes() == victim
    assert sorted(os.listdir(tmp_path)) == ["evil.h5", "victim.h5"]


def test_unsealed_hdf5_files_are_read_grow_and_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "old.h5"
    path.write_bytes(unsealed_file())
    ensemble, attributes = read_ensemble(path)
    np.testing.assert_array_equal(ensemble.log_weights, make_ensemble().log_weights)
    assert attributes["beta"] == 2.0
    append_ensemble(path, make_ensemble())
    assert len(read_ensemble(path)[0]) == 40
    with h5py.File(path) as file:  # other tools read sealed files as any HDF5 file
        assert file["log_weights"].shape == (40,)  # pyright: ignore
    path.write_bytes(unsealed_file(STRUCTURES["external link"][0]))
    refused(read_ensemble, EnsembleFileError, path, match="is a link")


@pytest.mark.parametrize(
    "header",
    [
        DEEP,
        "",
        "[]",
        "{}",
        '"text"',
        "1" * 5000,
        {"data": 3},
        {"data": [1]},
        {"data": ["configurations"]},
        {"data": ["log_weights", "../x"]},
        {"data": ["log_weights", "trivmap"]},
        {"data": ["log_weights", "observables"]},
        {"kind": "model"},
        {"kind": ["ensemble"]},
        {"kind": "chain"},
        {"numbers": {"force_evaluations": 1}},
        {"numbers": None},
        {"versions": {"jax": 3}},
        {"attributes": []},
        {"format": "2"},
        {"format": 99},
        {"format": float("nan")},
    ],
)
def test_hdf5_headers(tmp_path, header):
    (tmp_path / "a.h5").write_bytes(sealed_file(header=header))
    for read in (read_ensemble, read_chain, file_kind):
        refused(read, EnsembleFileError, tmp_path / "a.h5")
    refused(lambda path: append_ensemble(path, make_ensemble()), EnsembleFileError, tmp_path / "a.h5")


def test_hdf5_never_sees_a_damaged_file(tmp_path, monkeypatch):
    """64 zeroed bytes make the HDF5 library loop for ever."""
    path = tmp_path / "a.h5"
    write_ensemble(path, make_ensemble())
    content = path.read_bytes()
    monkeypatch.setattr(h5py, "File", None)
    for start in range(0, len(content) - 64, 64):
        if any(content[start : start + 64]):
            path.write_bytes(content[:start] + bytes(64) + content[start + 64 :])
            refused(read_ensemble, EnsembleFileError, path, match=r"checksum is wrong|does not start")
    path.write_bytes(content + b"\0")
    refused(read_ensemble, EnsembleFileError, path, match="checksum is wrong")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_devices_pipes_and_folders_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe", tmp_path, tmp_path / "missing"):
        for read in (read_ensemble, read_chain, file_kind):
            refused(read, EnsembleFileError, path)
        for read in (read_npz, read_nersc, read_ildg):
            refused(read, GaugeFileError, path)
        refused(read_header, CheckpointError, path)


# --- archives ----------------------------------------------------------------------------------------------------------


def npy(array, claim=None):
    """An array as `numpy.save` writes it, under a header that claims this shape."""
    file = io.BytesIO()
    np.save(file, array)
    if claim is None:
        return file.getvalue()
    header = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': {claim}, }}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + array.tobytes()


def archive(members, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as target:
        for name, content in members:
            target.writestr(name, content)
    return file.getvalue()


WEIGHTS = ("log_weights.npy", npy(np.zeros(3)))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([("log_weights.npy", npy(np.zeros(3), "(4000000000,)"))], "of which 24"),
        ([("log_weights.npy", npy(np.zeros(3), "(-3,)"))], "shape"),
        ([("log_weights.npy", npy(np.zeros(3), "(" * 3000))], "NumPy's format"),
        ([("log_weights.npy", npy(np.array([None] * 3)))], "array of object"),
        ([("log_weights.npy", npy(np.array(["a"] * 3)))], "one array of numbers"),
        ([("log_weights.npy", npy(np.zeros(3)) + b"\0" * 8)], "one array of numbers"),
        ([WEIGHTS, WEIGHTS], "two members"),
        ([WEIGHTS, ("plaquette.npy", npy(np.zeros(3)))], "has a member"),
        ([WEIGHTS, ("../../x.npy", npy(np.zeros(3)))], "has a member"),
        ([WEIGHTS, ("observables/p.npy", npy(np.zeros(4)))], "shape"),
        ([], "no log_weights"),
    ],
)
def test_npz_members(tmp_path, members, why):
    (tmp_path / "a.npz").write_bytes(archive(members))
    refused(read_npz, GaugeFileError, tmp_path / "a.npz", match=why)


def test_npz_bombs_names_and_archives_of_earlier_versions(tmp_path):
    path = tmp_path / "a.npz"
    bomb = archive([("log_weights.npy", npy(np.zeros(10**7)))], compression=zipfile.ZIP_DEFLATED)
    path.write_bytes(bomb)
    refused(read_npz, GaugeFileError, path, match="claims more data")
    write_npz(path, make_ensemble())
    content = path.read_bytes()
    path.write_bytes(content.replace(b"observables/plaquette", b"observables/plaquettf"))  # wherever the format has it
    refused(read_npz, GaugeFileError, path, match="checksum is wrong")
    for other in (content + b"\0", content[:-1], content[:-70] + b"x" * 70):
        path.write_bytes(other)
        refused(read_npz, GaugeFileError, path)
    np.savez(path, **{"log_weights": np.arange(3.0), "observables/p": np.ones(3)})
    assert list(read_npz(path).observables) == ["p"]


# --- checkpoints and recipes -------------------------------------------------------------------------------------------


def with_body(content, body):
    return content[:8] + hashlib.sha256(body).digest() + body


def with_header(content, change):
    """The checkpoint with another header, under a right checksum."""
    body = content[40:]
    length = int.from_bytes(body[:8], "little")
    new = change if isinstance(change, str) else json.dumps(json.loads(body[8 : 8 + length]) | change)
    return with_body(content, len(new).to_bytes(8, "little") + new.encode() + body[8 + length :])


HEADERS = [
    DEEP, "", "[]", "{}", "3", "1" * 5000, {"leaves": None}, {"leaves": [1]}, {"leaves": []}, {"leaves": [["", ["x"], ""]]},
    {"leaves": [["", [1e400], "f"]]}, {"versions": []}, {"versions": {"jax": 1}},
]  # fmt: skip


@pytest.mark.parametrize("change", HEADERS)
def test_checkpoint_headers(tmp_path, change):
    path, tree = tmp_path / "a", {"x": jnp.arange(5.0)}
    write_checkpoint(path, tree)
    path.write_bytes(with_header(path.read_bytes(), change))
    refused(lambda file: read_checkpoint(file, tree), CheckpointError, path)


def test_checkpoint_payloads(tmp_path):
    path, tree = tmp_path / "a", {"x": jnp.arange(5.0), "n": 3}
    write_checkpoint(path, tree)
    content = path.read_bytes()
    body = content[40:]
    head = body[: body.index(b"\x93NUMPY")]
    x, n = npy(np.arange(5.0)), npy(np.array(3))
    path.write_bytes(with_body(content, head + n + x))  # in the order of the names
    assert read_checkpoint(path, tree)[0]["n"] == 3
    for other in (
        head + n + npy(np.arange(5.0), "(5000000000,)"),
        head + npy(np.array(3), "(5000000000,)") + x,
        head + n,
        head + n + x + b"\0",
        head + n + npy(np.arange(6.0)),
        head + n + npy(np.array([{}], object)),
        b"\xff" * 8 + body[8:],
        b"\0" * 8 + body[8:],
        body[:4],
        b"",
    ):
        path.write_bytes(with_body(content, other))
        refused(lambda file: read_checkpoint(file, tree), CheckpointError, path)


def build(config):
    theory = tm.Phi4Action((2, 2), m2=config["m2"], lam=1.0)
    return tm.Model(tm.GaussianPrior(theory.manifold), tm.flows.Rescaling(theory.manifold)), theory


@pytest.mark.parametrize(
    "change",
    [
        {"structure": None},
        {"structure": 3},
        {"structure": [1]},
        {"structure": {}},
        {"structure": {"array": "float64", "shape": [2]}},
        {"structure": {"name": "os:system"}},
        {"structure": {"class": "trivmap.io:Recipe", "fields": {"n": 5}}},
        {"structure": {"class": "trivmap.io:Nothing", "fields": {}}},
        {"structure": {"class": "trivmap:sample", "fields": {}}},
        {"structure": {"named": "trivmap:sample", "parts": [1]}},
        {"structure": {"partial": "trivmap:sample", "parts": [1, 2, 3]}},
        {"structure": {"constant": "!", "dtype": "<f8", "shape": [2]}},
        {"structure": {"constant": "eJwDAAAAAAE=", "dtype": "<f8", "shape": [10000000000000]}},
        {"structure": {"key": "none", "shape": []}},
        {"structure": {"dict": [[{"list": []}, 1]]}},
        {"structure": {"host": "O", "shape": [2]}},
        {"platform": 3},
        {"versions": {"jax": None}},
    ],
)
def test_recipe_headers(tmp_path, change):
    path = tmp_path / "a"
    write_recipe(path, tm.io.Recipe(*build({"m2": 1.0}), jax.random.key(0), 5))
    path.write_bytes(with_header(path.read_bytes(), change))
    refused(read_recipe, CheckpointError, path)


# --- gauge files -------------------------------------------------------------------------------------------------------


def test_huge_extents_and_lengths(tmp_path):
    content = nersc_bytes(random_links((2, 1, 1, 1)), "4D_SU3_GAUGE", "IEEE32BIG")
    huge = {f"DIMENSION_{i}": 999_999 for i in range(1, 5)}
    refused(read_nersc, GaugeFileError, nersc_bytes(random_links((2, 1, 1, 1)), "4D_SU3_GAUGE", "IEEE32BIG", huge))
    refused(read_nersc, GaugeFileError, content.replace(b"4D_SU3_GAUGE", b"4D_SU999_GAUGE"))
    refused(read_ildg, GaugeFileError, lime_record("a", b"")[:8] + struct.pack(">Q", 2**64 - 1) + bytes(128))
    form = "<ildgFormat><field>su3gauge</field><precision>64</precision>"
    form += "".join(f"<l{x}>999999</l{x}>" for x in "xyzt") + "</ildgFormat>"
    refused(read_ildg, GaugeFileError, lime_record("ildg-format", form.encode()) + lime_record("ildg-binary-data", b"0" * 8))
    nested = b"<a>" * 20_000
    refused(read_ildg, GaugeFileError, lime_record("ildg-format", nested) + lime_record("ildg-binary-data", b"0" * 8))


# --- what is written can be read ---------------------------------------------------------------------------------------


def test_names_and_types_that_no_file_gives_back_are_refused(tmp_path):
    for name in ("", "a//b", "./a", "a\0b", "a\nb", "/a"):
        for write in (write_ensemble, append_ensemble, write_npz):
            with pytest.raises(ValueError, match="cannot store"):
                write(tmp_path / "a", Ensemble(None, np.zeros(2), {name: np.zeros(2)}))
    for value in (np.array(["a", "b"]), np.zeros(2, jnp.bfloat16)):
        for write in (write_ensemble, write_npz):
            with pytest.raises(TypeError, match="Booleans and numbers"):
                write(tmp_path / "a", Ensemble(None, np.zeros(2), {"x": value}))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("shape", [(2,), (3, 2), (2, 2, 2), (2, 1, 2, 1), (1, 2, 1, 2, 2)])
def test_any_dimension_any_names_and_many_attributes_come_back(tmp_path, shape):
    rng = np.random.default_rng(0)
    links = rng.normal(size=(3, len(shape), 2, 2, *shape)) + 1j
    notes = {f"note {i}": {"x": [i] * 50} for i in range(2000)} | {"nan": float("nan")}
    observables = {"φ²": rng.normal(size=3), "a/b": np.ones((3, 2), bool), "..": np.arange(3)}
    observables["trivmap"] = np.ones(3, np.float32)
    ensemble = Ensemble(links, rng.normal(size=3), observables)
    write_ensemble(tmp_path / "a.h5", ensemble, notes)
    append_ensemble(tmp_path / "a.h5", ensemble, None)
    write_npz(tmp_path / "a.npz", ensemble)
    write_chain(tmp_path / "c.h5", Chain(links[None], {k: v[None] for k, v in observables.items()}), notes)
    back, found = read_ensemble(tmp_path / "a.h5")
    chain = read_chain(tmp_path / "c.h5")[0]
    assert found["note 1999"] == notes["note 1999"]
    for got, want in ((back, 2), (read_npz(tmp_path / "a.npz"), 1)):
        np.testing.assert_array_equal(got.configurations, np.concatenate([links] * want))
        for name, value in observables.items():
            np.testing.assert_array_equal(got.observables[name], np.concatenate([value] * want))
            assert got.observables[name].dtype == value.dtype
    for name, value in observables.items():
        np.testing.assert_array_equal(chain.observables[name][0], value)


def test_a_file_that_another_program_has_open_is_not_called_damaged(tmp_path):
    """HDF5 locks and marks a file that it may change; without changes the file is as before at the end."""
    path = tmp_path / "a.h5"
    write_ensemble(path, make_ensemble())
    content = path.read_bytes()
    with h5py.File(path, "r"):
        assert len(read_ensemble(path)[0]) == 20
    with h5py.File(path, "r+"):
        refused(read_ensemble, EnsembleFileError, path, match="another program has it open")
    assert path.read_bytes() == content
    (tmp_path / "old.h5").write_bytes(unsealed_file())
    append_ensemble(tmp_path / "old.h5", make_ensemble())
    with h5py.File(tmp_path / "old.h5", "r+"):
        pass
    assert len(read_ensemble(tmp_path / "old.h5")[0]) == 40
