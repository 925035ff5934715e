"""Files of gauge links built number by number from the description of the formats, by code of its own."""

import itertools
import struct
import zlib

import numpy as np


def matrix(links, mu, site):
    return links[(mu, slice(None), slice(None), *(i % e for i, e in zip(site, links.shape[3:], strict=True)))]


def loop_plaquette(links):
    lattice, total, count = links.shape[3:], 0.0, 0
    for site in itertools.product(*map(range, lattice)):
        for mu, nu in itertools.combinations(range(4), 2):
            right, up = (tuple(i + (k == direction) for k, i in enumerate(site)) for direction in (mu, nu))
            p = matrix(links, mu, site) @ matrix(links, nu, right)
            p = p @ matrix(links, mu, up).conj().T @ matrix(links, nu, site).conj().T
            total, count = total + np.trace(p).real / len(p), count + 1
    return total / count


def site_bytes(links, site, code, rows):
    """The links of one site in file order: directions x, y, z, t, rows, columns, real and imaginary part."""
    numbers = []
    for mu in (1, 2, 3, 0):
        for row in matrix(links, mu, site)[:rows]:
            for z in row:
                numbers += [z.real, z.imag]
    return struct.pack(f"{code[0]}{len(numbers)}{code[1]}", *numbers)


def file_sites(lattice):
    t, x, y, z = lattice
    return [(it, ix, iy, iz) for it in range(t) for iz in range(z) for iy in range(y) for ix in range(x)]


def nersc_bytes(links, datatype, floating, changes=(), code=None):
    n = links.shape[1]
    rows = n - 1 if datatype.endswith("GAUGE") else n
    code = code or (">" if floating.endswith("BIG") else "<") + ("f" if "32" in floating else "d")
    data = b"".join(site_bytes(links, site, code, rows) for site in file_sites(links.shape[3:]))
    words = struct.unpack(f"{code[0]}{len(data) // 4}I", data)
    trace = np.mean([np.trace(matrix(links, mu, s)).real / n for mu in range(4) for s in file_sites(links.shape[3:])])
    t, x, y, z = links.shape[3:]
    header = {
        "HDR_VERSION": "1.0",
        "DATATYPE": datatype,
        "DIMENSION_1": x,
        "DIMENSION_2": y,
        "DIMENSION_3": z,
        "DIMENSION_4": t,
        "LINK_TRACE": f"{trace:.10g}",
        "PLAQUETTE": f"{loop_plaquette(links):.10g}",
        "CHECKSUM": f"{sum(words) % 2**32:X}",
        "CREATOR": "a test",
        "FLOATING_POINT": floating,
    } | dict(changes)
    text = "".join(f"{key} = {value}\n" for key, value in header.items() if value is not None)
    return b"BEGIN_HEADER\n" + text.encode() + b"END_HEADER\n" + data


def lime_record(kind, payload, first=False, last=False):
    head = struct.pack(">i", 1164413355) + struct.pack(">hH", 1, (first << 15) | (last << 14))
    head += struct.pack(">q", len(payload)) + kind.encode().ljust(128, b"\0")
    return head + payload + b"\0" * ((8 - len(payload) % 8) % 8)


def rotate_left(word, by):
    return ((word << by) | (word >> (32 - by))) & 0xFFFFFFFF


def ildg_bytes(links, bits=64, plaquette=True, field="su3gauge", order=">", checksum=True):
    parts = [site_bytes(links, site, order + ("f" if bits == 32 else "d"), 3) for site in file_sites(links.shape[3:])]
    a = b = 0
    for rank, part in enumerate(parts):
        a ^= rotate_left(zlib.crc32(part), rank % 29)
        b ^= rotate_left(zlib.crc32(part), rank % 31)
    t, x, y, z = links.shape[3:]
    form = (
        '<?xml version="1.0" encoding="UTF-8"?><ildgFormat xmlns="http://www.lqcd.org/ildg"><version>1.0</version>'
        f"<field>{field}</field><precision>{bits}</precision>"
        f"<lx>{x}</lx><ly>{y}</ly><lz>{z}</lz><lt>{t}</lt></ildgFormat>"
    )
    sums = f"<scidacChecksum><version>1.0</version><suma>{a:x}</suma><sumb>{b:x}</sumb></scidacChecksum>"
    records = [("xlf-info", f"plaquette = {loop_plaquette(links):.12f}\n beta = 6.0\n".encode())] if plaquette else []
    records += [("ildg-format", form.encode()), ("ildg-binary-data", b"".join(parts))]
    records += [("scidac-checksum", sums.encode())] if checksum else []
    records += [("some-other-record", b"left alone"), ("ildg-data-lfn", b"lfn://test/1")]
    last = len(records) - 1
    return b"".join(lime_record(k, p, i == 0, i == last) for i, (k, p) in enumerate(records))
