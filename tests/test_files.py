"""NERSC and ILDG files: fixtures are built byte by byte from the description of the formats, by other code."""

import struct
import tempfile
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from gauge_files import ildg_bytes, lime_record, loop_plaquette, nersc_bytes
from helpers import random_links
from hypothesis import given, settings
from hypothesis import strategies as st

import trivmap as tm
from trivmap.io import (
    GaugeFileError,
    GaugeFileWarning,
    read_ildg,
    read_nersc,
    write_ildg,
    write_nersc,
)

LATTICE = (4, 2, 3, 5)  # t, x, y, z: all different, so that no order of axes can be mistaken for another
SMALL = (2, 1, 2, 3)


LINKS = random_links(LATTICE)


# --- what other codes write --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("datatype", ["4D_SU3_GAUGE", "4D_SU3_GAUGE_3x3"])
@pytest.mark.parametrize("floating", ["IEEE32BIG", "IEEE64BIG", "IEEE32", "IEEE64LITTLE"])
def test_nersc_files_by_other_code(datatype, floating, tmp_path):
    path = tmp_path / "lat.0001"
    path.write_bytes(nersc_bytes(LINKS, datatype, floating))
    links, header = read_nersc(path, lattice=LATTICE)
    assert links.dtype == (np.complex64 if "32" in floating else np.complex128)
    if datatype.endswith("3x3"):
        np.testing.assert_array_equal(links, LINKS.astype(links.dtype))
    else:  # the third row is a product of the others: a few roundings
        np.testing.assert_allclose(links, LINKS, atol=8 * np.finfo(links.dtype).eps)
        np.testing.assert_array_equal(links[:, :2], LINKS[:, :2].astype(links.dtype))
    assert header["CREATOR"] == "a test"
    # The plaquette of the library on the loaded links, against loops over sites.
    assert float(tm.plaquette(jnp.asarray(links))) == pytest.approx(loop_plaquette(LINKS), abs=1e-6)


@pytest.mark.parametrize("bits", [32, 64])
def test_ildg_files_by_other_code(bits, tmp_path):
    path = tmp_path / "conf.lime"
    path.write_bytes(ildg_bytes(LINKS, bits))
    links, description = read_ildg(path, lattice=LATTICE)
    np.testing.assert_array_equal(links, LINKS.astype(np.complex64 if bits == 32 else np.complex128))
    assert description["lfn"] == "lfn://test/1"
    assert "beta = 6.0" in description["xlf-info"]
    assert description["precision"] == bits


@pytest.mark.parametrize(
    ("n", "datatype", "floating", "code", "changes"),
    [
        (3, "4D_SU3_GAUGE", "IEEE32", ">f", {}),
        (3, "4D_SU3_GAUGE_3x3", "IEEE64", ">d", {}),
        (3, "4D_SU3_GAUGE_3X3", "ieee64little", "<d", {}),
        (3, "4D_SU3_GAUGE", None, "<f", {"FLOATING_POINT": None}),
        (3, "4D_SU3_GAUGE_3x3", None, ">d", {"FLOATING_POINT": None, "PLAQUETTE": None, "LINK_TRACE": None}),
        (2, "4D_SU2_GAUGE", "IEEE64BIG", None, {}),
        (2, "4D_SU2_GAUGE", None, "<f", {"FLOATING_POINT": None}),
        (2, "4D_SU2_GAUGE", None, ">d", {"FLOATING_POINT": None}),
        (4, "4D_SU4_GAUGE", "IEEE64BIG", None, {}),
        (10, "4D_SU10_GAUGE_10x10", "IEEE32BIG", None, {}),
    ],
)
def test_nersc_variants_of_other_codes(n, datatype, floating, code, changes):
    truth = random_links(SMALL, n, seed=2)
    content = nersc_bytes(truth, datatype, floating or "", changes, code)
    links, _ = read_nersc(content, max_defect=5e-6)
    np.testing.assert_allclose(links, truth, atol=40 * np.finfo(links.dtype).eps)
    assert (links.dtype == np.complex64) == ("f" in (code or "") or "32" in (floating or ""))
    with pytest.raises(GaugeFileError):  # the checksum still protects the numbers
        read_nersc(content[:-3] + bytes([content[-3] ^ 0x40]) + content[-2:])


def test_spelling_of_nersc_headers():
    content = nersc()
    header, data = content.split(b"END_HEADER\n", 1)
    spellings = [
        header.replace(b"\n", b"\r\n") + b"END_HEADER\r\n",
        header.replace(b" = ", b"=") + b"END_HEADER\n",
        header.replace(b"\n", b"  \n\n") + b"  END_HEADER \n",
        header.lower().replace(b"begin_header", b"BEGIN_HEADER") + b"END_HEADER\n",
        header + b"COMMENT = " + b"x" * 100_000 + b"\nEND_HEADER\n",
        header + b"CREATOR = a test\nEND_HEADER\n",
    ]
    for spelling in spellings:
        np.testing.assert_array_equal(read_nersc(spelling + data)[0], LINKS)


def other_text(content, old, new):
    assert content.count(old) == 1
    return content.replace(old, new.rjust(len(old)))


@pytest.mark.parametrize("factor", [1 / 3, 3.0, 18.0, "nan", "1-", "*******"])
def test_plaquettes_of_other_codes_in_ildg_files(factor):
    p = loop_plaquette(LINKS)
    stated = {"1-": f"{1 - p:.10f}"}.get(factor, factor if isinstance(factor, str) else f"{factor * p:.10f}")
    original = ildg_bytes(LINKS)
    content = other_text(original, f"plaquette = {p:.12f}\n beta = 6.0\n".encode(), f"plaquette = {stated}\n".encode())
    with pytest.warns(GaugeFileWarning, match="checksums are right"):
        links, description = read_ildg(content)
    np.testing.assert_array_equal(links, LINKS)
    assert description["plaquette"] == pytest.approx(p)


@pytest.mark.parametrize(
    "content",
    [
        lambda: lime_record("xlf-info", b"plaquette = 0.9\n") + ildg_bytes(LINKS),
        lambda: ildg_bytes(LINKS) + lime_record("xlf-info", b"plaquette = 0.9\n"),
        lambda: lime_record("scidac-file-xml", b"<a/>", True, True) + ildg_bytes(LINKS) + lime_record("other", b"\1" * 13),
        lambda: (ildg_bytes(LINKS) + lime_record("other", b"\1" * 13))[:-3],
        lambda: other_text(ildg_bytes(LINKS), b' xmlns="http://www.lqcd.org/ildg">', b" ><!-- 4 -->"),
        lambda: other_text(ildg_bytes(LINKS), b'<?xml version="1.0" encoding="UTF-8"?><ildg', b"\n<ildg"),
        lambda: other_text(ildg_bytes(LINKS), b"<lx>2</lx><ly>3</ly>", b"<ly>3</ly><lx>2</lx>"),
        lambda: other_text(ildg_bytes(LINKS), b"<field>su3gauge", b"<field>SU3gauge"),
    ],
)
def test_structures_of_other_ildg_files(content):
    np.testing.assert_array_equal(read_ildg(content())[0], LINKS)


# --- round trips -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "rows"), [(3, 3), (3, 2), (2, None), (4, None)])
@pytest.mark.parametrize(("precision", "order"), [(32, "big"), (64, "little")])
def test_nersc_round_trip(tmp_path, n, rows, precision, order):
    links = random_links(SMALL, n, seed=1)
    write_nersc(tmp_path / "a", links, precision=precision, rows=rows, byte_order=order, header={"ENSEMBLE_ID": "b6"})
    back, header = read_nersc(tmp_path / "a")
    tolerance = np.finfo(back.dtype).eps if rows == 2 else 0.0
    np.testing.assert_allclose(back, links.astype(back.dtype), atol=8 * tolerance, rtol=0)
    assert header["ENSEMBLE_ID"] == "b6"
    if (n, rows) == (3, 3):
        assert (tmp_path / "a").read_bytes().endswith(nersc_bytes(
            links, "4D_SU3_GAUGE_3x3", f"IEEE{precision}{order.upper()}").split(b"END_HEADER\n", 1)[1])  # fmt: skip


@pytest.mark.parametrize("n", range(2, 13))
def test_every_group_and_long_headers_come_back(tmp_path, n):
    links = random_links((2, 1, 1, 2), n, seed=n)
    notes = {f"NOTE_{i}": "x" * 90 for i in range(1000)} | {"plaquette": "mine", "TWO": "lines\nEND_HEADER\nhere"}
    write_nersc(tmp_path / "a", links, header=notes)
    back, header = read_nersc(tmp_path / "a")
    np.testing.assert_array_equal(back, links)
    assert header["NOTE_999"] == "x" * 90
    with pytest.raises(ValueError, match="without '='"):
        write_nersc(tmp_path / "a", links, header={"A=B": 1})


def test_ildg_round_trip(tmp_path):
    write_ildg(tmp_path / "a", LINKS, lfn="lfn://x", info={"beta": 6.0})
    back, description = read_ildg(tmp_path / "a")
    np.testing.assert_array_equal(back, LINKS)
    assert description["lfn"] == "lfn://x"
    assert "beta = 6.0" in description["xlf-info"]


@pytest.mark.parametrize(("write", "read"), [(write_nersc, read_nersc), (write_ildg, read_ildg)])
def test_eight_to_the_fourth_loads_within_a_second(tmp_path, write, read):
    links = random_links((8, 8, 8, 8))
    write(tmp_path / "a", links)
    # CPU time: on an idle machine no less than wall time, and on a loaded one the same.
    start = time.process_time()
    back, _ = read(tmp_path / "a")
    assert time.process_time() - start < 1.0
    np.testing.assert_array_equal(back, links)


def with_other_suma(content):
    digit = content.index(b"<suma>") + 6
    return content[:digit] + (b"1" if content[digit : digit + 1] != b"1" else b"2") + content[digit + 1 :]


# --- refusals ----------------------------------------------------------------------------------------------------------


def nersc(changes=(), floating="IEEE64BIG", links=LINKS):
    return nersc_bytes(links, "4D_SU3_GAUGE_3x3", floating, changes)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: b"", "does not start with BEGIN_HEADER"),
        (lambda: b"BEGIN_HEADER\nDATATYPE = x\n", "no line END_HEADER"),
        (lambda: nersc()[:-8], "truncated"),
        (lambda: nersc() + b"\0" * 8, "followed by something else"),
        (lambda: nersc({"CHECKSUM": "12345678"}), "changed after writing"),
        (lambda: nersc({"CHECKSUM": None}), "no CHECKSUM"),
        (lambda: nersc({"FLOATING_POINT": "IEEE64LITTLE"}), "other byte order"),
        (lambda: nersc({"FLOATING_POINT": "IEEE128BIG"}), "expected one of IEEE32BIG"),
        (lambda: nersc({"PLAQUETTE": "0.6"}), "the plaquette of the data"),
        (lambda: nersc({"PLAQUETTE": "nan"}), "the plaquette of the data"),
        (lambda: nersc({"LINK_TRACE": "0.6"}), "the link trace of the data"),
        (lambda: nersc({"DIMENSION_1": 4, "DIMENSION_4": 2}), "the plaquette of the data"),
        (lambda: nersc({"DIMENSION_1": "2.0"}), "not an extent"),
        (lambda: nersc({"DATATYPE": "4D_SU3_GAUGE_2x3"}), "expected 4D_SU3_GAUGE"),
        (lambda: nersc({"DATATYPE": "4D_SU2_GAUGE_2x2"}), "followed by something else"),
        (lambda: nersc(links=1.001 * LINKS), "not in SU\\(N\\)"),
        (lambda: nersc(links=np.where(LINKS == LINKS[0, 0, 0, 0, 0, 0, 0], np.nan, LINKS)), "not in SU\\(N\\)"),
    ],
)
def test_nersc_refuses(content, reason):
    with pytest.raises(GaugeFileError, match=reason):
        read_nersc(content())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: b"", "empty"),
        (lambda: nersc(), "no record starts at byte 0"),
        (lambda: b"\xab\x89\x67\x45" + ildg_bytes(LINKS)[4:], "little-endian"),
        (lambda: ildg_bytes(LINKS)[:-9], "truncated"),
        (lambda: lime_record("ildg-format", b"<a/>"), "no record ildg-binary-data"),
        (lambda: ildg_bytes(LINKS) + lime_record("ildg-format", b""), "more than one record"),
        (lambda: ildg_bytes(LINKS, field="su2gauge"), "expected 'su3gauge'"),
        (lambda: ildg_bytes(LINKS).replace(b"<precision>64", b"<precision>32"), "followed by something else"),
        (lambda: ildg_bytes(LINKS).replace(b"<lx>2</lx><ly>3", b"<lx>3</lx><ly>2"), "the plaquette of the data"),
        (lambda: with_other_suma(ildg_bytes(LINKS)), "suma is"),
        (lambda: ildg_bytes(LINKS, order="<"), "the file was written with the wrong one"),
        (lambda: ildg_bytes(LINKS, checksum=False), "no record scidac-checksum"),
        (lambda: ildg_bytes(LINKS).replace(b"<?xml version", b"<!DOCTYPE  a>"), "not a plain XML element"),
    ],
)
def test_ildg_refuses(content, reason):
    with pytest.raises(GaugeFileError, match=reason):
        read_ildg(content())


def test_expected_lattice_and_rounded_links():
    for read, content in ((read_nersc, nersc()), (read_ildg, ildg_bytes(LINKS))):
        with pytest.raises(GaugeFileError, match=r"holds links on a lattice \(4, 2, 3, 5\).*expected \(4, 4, 4, 4\)"):
            read(content, lattice=(4, 4, 4, 4))
    rounded = LINKS.astype(np.complex64).astype(np.complex128)
    with pytest.raises(GaugeFileError, match="max_defect"):
        read_nersc(nersc(links=rounded))
    np.testing.assert_array_equal(read_nersc(nersc(links=rounded), max_defect=1e-6)[0], rounded)
    np.testing.assert_array_equal(read_ildg(ildg_bytes(LINKS, checksum=False), require_checksum=False)[0], LINKS)


def test_writers_refuse(tmp_path):
    with pytest.raises(ValueError, match="four dimensions"):
        write_nersc(tmp_path / "a", np.ones((2, 3, 3, 4, 4), complex))
    with pytest.raises(TypeError, match="expected complex SU"):
        write_nersc(tmp_path / "a", np.zeros((4, 2, 2, 2, 2)))
    with pytest.raises(ValueError, match="project them first"):
        write_ildg(tmp_path / "a", 1.1 * LINKS)
    with pytest.raises(ValueError, match="write_nersc takes any"):
        write_ildg(tmp_path / "a", random_links(SMALL, 2))
    assert list(tmp_path.iterdir()) == []


# --- mutations ---------------------------------------------------------------------------------------------------------


def written_by_trivmap(links):
    with tempfile.TemporaryDirectory() as folder:
        write_nersc(f"{folder}/a", links)
        return Path(f"{folder}/a").read_bytes()


FUZZ_LINKS = random_links(SMALL, seed=5)
ORIGINALS = [
    (read_nersc, nersc_bytes(FUZZ_LINKS, "4D_SU3_GAUGE_3x3", "IEEE64BIG")),
    (read_nersc, nersc_bytes(FUZZ_LINKS, "4D_SU3_GAUGE", "IEEE32BIG")),
    (read_ildg, ildg_bytes(FUZZ_LINKS, 64)),
    (read_ildg, ildg_bytes(FUZZ_LINKS, 32)),
    (read_nersc, written_by_trivmap(FUZZ_LINKS)),
]
TRUTH = [read(content)[0] for read, content in ORIGINALS]


def loads_nothing_else(index, content):
    """A file is refused with a reason, or is still the original (a letter of a comment may have changed)."""
    try:
        links, _ = ORIGINALS[index][0](content)
    except GaugeFileError:
        return False
    if index > 1:
        assert links.tobytes() == TRUTH[index].tobytes()
    else:  # the checksum of the format, a sum of words, cannot see bytes that trade places within rounding
        np.testing.assert_allclose(links, TRUTH[index], atol=(1e-10, 5e-6)[index], rtol=0)
    return True


def test_ten_thousand_mutated_files():
    """Flipped bits, changed and swapped bytes, cuts, insertions and copies, half of them in the first kilobyte."""
    rng = np.random.default_rng(0)
    loaded = 0
    for i in range(10_000):
        index = i % 5
        data = bytearray(ORIGINALS[index][1])
        top = 1024 if rng.random() < 0.5 else len(data)
        a, b = sorted(rng.integers(0, min(top, len(data)), 2))
        match rng.integers(6):
            case 0:
                data[a] ^= 1 << rng.integers(8)
            case 1:
                data[a] = rng.integers(256)
            case 2:
                data[a], data[b] = data[b], data[a]
            case 3:
                del data[a : min(b, a + 16)]
            case 4:
                data[a:a] = rng.bytes(8)
            case 5:
                del data[b:]
        loaded += loads_nothing_else(index, bytes(data))
    assert loaded < 1500  # texts that mean nothing to the reader


@given(index=st.integers(0, 4), edits=st.lists(st.tuples(st.integers(0, 2**20), st.binary(max_size=9)), max_size=4))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_edit_is_refused_or_harmless(index, edits):
    data = bytearray(ORIGINALS[index][1])
    for position, replacement in edits:
        position %= len(data)
        data[position : position + len(replacement)] = replacement
    loads_nothing_else(index, bytes(data))


@given(content=st.binary(max_size=400))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_bytes_are_refused(content):
    for prefix in (b"", b"BEGIN_HEADER\n", struct.pack(">IHH", 0x456789AB, 1, 0)):
        for read in (read_nersc, read_ildg):
            with pytest.raises(GaugeFileError):
                read(prefix + content)
