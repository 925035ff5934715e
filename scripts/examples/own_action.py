"""An action of your own: the sine-Gordon model, by HMC and by a flow, with a check of both."""

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402


class SineGordon(tm.AbstractTheory):
    """S = sum_x [ sum_mu (phi_{x+mu} - phi_x)^2 + m2 phi^2 - g cos(phi) ]"""

    manifold: tm.RealField
    m2: float
    g: float

    def action(self, x):
        kinetic = sum(jnp.sum((jnp.roll(x, -1, mu) - x) ** 2) for mu in range(x.ndim))
        return kinetic + jnp.sum(self.m2 * x**2 - self.g * jnp.cos(x))


theory = SineGordon(tm.RealField((6, 6)), m2=0.3, g=1.0)
field = tm.GatedConvolutionField(theory.manifold)
model = tm.Model(tm.GaussianPrior(theory.manifold, width=0.6), tm.ContinuousFlow(field, steps=5))
model, history = tm.fit(
    jax.random.key(0), model, theory, steps=60, optimiser=tm.training.default_optimiser(60, 3e-2), progress=False
)

measure = {"cos": lambda x: jnp.mean(jnp.cos(x)), "chi2": tm.observables.susceptibility}
ensemble = tm.sample(jax.random.key(1), model, theory, 4000, measure=measure)
# At length one, modes of frequency pi return to minus themselves after every trajectory and hardly move.
options = {"trajectory_length": 0.6, "steps": 6, "chains": 4, "measure": measure}
chain = tm.hmc(jax.random.key(2), theory, 2000, **options)
print(f"ESS {tm.ess_fraction(ensemble.log_weights):.3f}")
for name in measure:
    flow, hmc = tm.expectation(ensemble, name), tm.expectation(chain, name)
    print(f"{name}: flow {flow}, HMC {hmc}, difference {flow.pull(hmc):+.1f} errors")
