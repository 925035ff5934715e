"""A comparison from a script: methods on equal terms for one theory, with the numbers at hand."""

import sys
import tempfile

import jax

jax.config.update("jax_enable_x64", True)

from trivmap.cli._config import U1Config  # noqa: E402
from trivmap.cli.compare import Comparison, run_comparison  # noqa: E402

seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
settings = Comparison(
    U1Config((4, 4), beta=2.0),
    methods=("gated", "langevin", "hmc", "heatbath"),
    training=seconds,
    sampling=seconds / 2,
    seeds=1,
)
summary = run_comparison(settings, tempfile.mkdtemp() + "/run")
for row in summary["rows"]:
    ess = "-" if row["ess"] is None else f"{row['ess']:.3f}"
    print(f"{row['label']}: ESS {ess}, {1e3 * row['cost']:.3f} ms for an independent sample, pulls {row['pulls']}")
