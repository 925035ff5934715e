"""The score of U(1) at beta = 2, used at larger beta: <Q^2> without and with weights.

    python scripts/targets/score_extrapolation.py [--samples N] [--out FILE] [--smoke]

The score is matched to samples of beta = 2 or trained by its weights there (`stochastic.py`, methods `diffusion_ode` and
`diffusion_tuned`), and goes to beta = 2.5, 3 and 4 in proportion to the action (arXiv:2502.05504), or by the change of the
closed form `plaquette_score`. Results that are in FILE already are kept.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from _stochastic_methods import corrected, matched, moved_score
from stochastic import kept, parser_of

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402


def extrapolation(results: dict, samples: int, smoke: bool, store) -> None:
    starts = {"matched": matched("u1_8x8_beta2", smoke)[0].transport, "by weights": corrected(2.0, smoke)[0]}
    for beta, learned, rule in itertools.product((3.0,) if smoke else (2.5, 3.0, 4.0), starts, ("action", "closed form")):
        theory = tm.WilsonAction(tm.U1(), (8, 8), beta=beta)
        exact = tm.exact.charge_squared(theory)
        key = f"{learned}, to {beta} by {rule}"
        if key not in results:
            diffusion = moved_score(starts[learned], (2.0, beta), rule)
            model = tm.Model(diffusion.noising.prior, diffusion.probability_flow(steps=10))
            options = {"measure": {"Q^2": lambda x: tm.topological_charge(x) ** 2}, "dtype": jnp.float32}
            ensemble = tm.sample(jax.random.key(1), model, theory, samples, batch_size=min(250, samples), **options)
            raw, weighted = ensemble.observables["Q^2"], tm.expectation(ensemble, "Q^2")
            results[key] = {
                "ess": tm.ess_fraction(ensemble.log_weights),
                "raw": [float(raw.mean()), float(raw.std() / np.sqrt(samples))],
                "weighted": [weighted.value, weighted.error],
                "exact": exact,
            }
            store()
        row = results[key]
        shown = ", ".join(f"{name} {tm.Estimate(*row[name])}" for name in ("raw", "weighted"))
        print(f"{key:36s} ESS {row['ess']:.3f}, <Q^2> {shown}, exact {exact:.4f}", flush=True)


def main() -> None:
    arguments = parser_of(__doc__ or "", "score_extrapolation.json").parse_args()
    results, store = kept(arguments.out)
    extrapolation(results, 64 if arguments.smoke else arguments.samples, arguments.smoke, store)


if __name__ == "__main__":
    main()
