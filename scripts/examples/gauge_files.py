"""Gauge configurations in files of other codes: write NERSC and ILDG, read them back, refuse a damaged one."""

import tempfile
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402

theory = tm.WilsonAction(tm.SU(3), (4, 2, 2, 2), beta=5.7)  # time first
chain = tm.heatbath(jax.random.key(0), theory, 5, chains=1, thermalisation=20)
links = chain.configurations[0, -1]

folder = Path(tempfile.mkdtemp())
tm.io.write_nersc(folder / "lat.nersc", links, rows=2, header={"ENSEMBLE_ID": "example"})
tm.io.write_ildg(folder / "lat.lime", links, info={"beta": 5.7})

for read, name in ((tm.io.read_nersc, "lat.nersc"), (tm.io.read_ildg, "lat.lime")):
    loaded, header = read(folder / name, lattice=theory.lattice)
    print(name, loaded.shape, "plaquette", float(tm.plaquette(loaded)), "largest change", np.abs(loaded - links).max())

data = bytearray((folder / "lat.lime").read_bytes())
data[5000] ^= 1
try:
    tm.io.read_ildg(bytes(data))
except tm.io.GaugeFileError as error:
    print("refused:", error)

matrices = tm.io.to_matrix_last(links)  # (direction, t, x, y, z, row, column) for NumPy codes
print("matrix last:", matrices.shape)
