"""An ensemble stored as its recipe: a few kilobytes that draw the same samples again, bit for bit."""

import tempfile
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402

theory = tm.WilsonAction(tm.U1(), (4, 4), beta=2.0)
model = tm.Model(tm.HaarPrior(theory.manifold), tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=5))
model, _ = tm.fit(
    jax.random.key(0), model, theory, steps=40, optimiser=tm.training.default_optimiser(40, 3e-2), progress=False
)

key = jax.random.key(1)
ensemble = tm.sample(key, model, theory, 1000)
folder = Path(tempfile.mkdtemp())
tm.io.write_recipe(folder / "ensemble.recipe", tm.io.Recipe(model, theory, key, 1000))
tm.write_ensemble(folder / "ensemble.h5", ensemble, tm.io.ensemble_attributes(theory, ensemble, seed=1))

part = tm.io.read_recipe(folder / "ensemble.recipe").sample(700, 720)
print("the same bits:", np.array_equal(part.configurations, ensemble.configurations[700:720]))
sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
print("bytes:", sizes)
