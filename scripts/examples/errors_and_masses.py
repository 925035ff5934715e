"""Error bars one can publish: autocorrelations, a derived quantity, a mass, and cautions about short chains."""

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402
from trivmap.plotting import plot_autocorrelation, save_figure  # noqa: E402

theory = tm.Phi4Action((8, 8), m2=-4.0, lam=6.0)
measure = {
    "M": tm.magnetisation,
    "moments": lambda x: jnp.stack([tm.magnetisation(x) ** 2, tm.magnetisation(x) ** 4]),
    "C": tm.observables.two_point,
}
chain = tm.hmc(jax.random.key(0), theory, 4000, chains=4, steps=8, measure=measure)

m = tm.expectation(chain, "M")
print(f"<M> = {m}, tau_int = {m.tau_int:.1f}({m.dtau_int:.1f})")
print("Binder cumulant", tm.expectation(chain, "moments", function=lambda m: 1 - m[1] / (3 * m[0] ** 2)))
fit = tm.statistics.fit_correlator(chain, "C", 1, 4)
print(f"mass {fit.masses}, chi2/dof {fit.chi2:.1f}/{fit.degrees}")

short = tm.Chain(None, {"M": chain.observables["M"][:, :100]})
for caution in tm.expectation(short, "M").cautions:
    print("100 trajectories:", caution)
save_figure(
    "autocorrelation", plot_autocorrelation({"M": chain.observables["M"], "M^2": chain.observables["moments"][..., 0]}), {}
)
