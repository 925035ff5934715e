"""One chain, a neighbouring coupling: a derivative without bias, a finite step and a difference, beside exact values.

    python scripts/examples/correlated_ensembles.py

Five Wilson loops of SU(2) are fitted to one half of a heatbath chain, without a training loop: the field whose flow follows
beta best. It takes the noise out of d<plaquette>/d beta, and carries the other half of the chain to the next coupling, where
each configuration stays beside the one that it came from.
"""

import argparse

import jax

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--smoke", action="store_true")
extent, n = (4, 40) if parser.parse_args().smoke else (8, 200)

source, target = (tm.WilsonAction(tm.SU(2), (extent, extent), beta=beta) for beta in (2.2, 2.5))
chain = tm.heatbath(jax.random.key(0), source, n, chains=8)
field = tm.GradientField(tm.LoopPotential(source.manifold, time="constant"))

h = 1e-3
up, down = (tm.exact.plaquette(tm.WilsonAction(tm.SU(2), (extent, extent), beta=2.2 + s * h)) for s in (1, -1))
print(f"d<P>/d beta   exact                {(up - down) / (2 * h):.6f}")
print("              reweighting         ", tm.statistics.derivative(chain, source, tm.plaquette, "beta"))
print("              with the field      ", tm.statistics.derivative(chain, source, tm.plaquette, "beta", field))

first, second = chain[: n // 2], chain[n // 2 :]
fit = tm.training.stein_regression(first, source, "beta", field)
exact = tm.exact.plaquette(target) - tm.exact.plaquette(source)
print(f"beta 2.2 -> 2.5: the fit leaves {100 * fit.unexplained:.1f} % of the variance")
print(f"<P> difference exact               {exact:.6f}")
for name, flow in (("without the flow", fit.flow(0.0, steps=1)), ("with the flow", fit.flow(0.3))):
    pushed = tm.push_forward(second, flow, source, target)
    paired = tm.statistics.difference(pushed, second, tm.plaquette)
    ess, log_z = tm.ess_fraction(pushed.log_weights), tm.log_z(pushed)
    pull = log_z.pull(tm.exact.log_z(target) - tm.exact.log_z(source))
    print(f"              {name:<20} {paired}   ESS {ess:.3f}, log Z pull {pull:+.1f}")
