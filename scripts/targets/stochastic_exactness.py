"""Exactness of Langevin flows at coarse steps: log Z and an observable with their pulls, while the ESS varies.

    python scripts/targets/stochastic_exactness.py [--samples N] [--out FILE] [--smoke]

Flows of 4 to 32 steps without any training, with no drift and with one that has nothing to do with the theory. Results that
are in FILE already are kept.
"""

import jax
from _stochastic_methods import is_scalar, prior_of
from stochastic import kept, parser_of, reference

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402

# Theory, step, width of the prior. Few untrained steps have to leave enough of the weights for an error that means something:
# small lattices, or a massive theory and a prior as wide as its fluctuations.
EXACTNESS = {
    "phi4_4x4": (lambda: tm.Phi4Action((4, 4), m2=1.0, lam=1.0), 0.05, 0.5),
    "phi4_8x8": (lambda: tm.Phi4Action((8, 8), m2=4.0, lam=1.0), 0.02, 0.32),
    "u1_4x4": (lambda: tm.WilsonAction(tm.U1(), (4, 4), beta=1.0), 0.05, None),
    "su2_4x4": (lambda: tm.WilsonAction(tm.SU(2), (4, 4), beta=1.0), 0.1, None),
    "su3_4x4": (lambda: tm.WilsonAction(tm.SU(3), (4, 4), beta=1.5), 0.1, None),
}


def wrong_drift(theory) -> tm.fields.AbstractVectorField:
    """A field that has nothing to do with the theory."""
    if not is_scalar(theory):
        return tm.GradientField(tm.LoopPotential(theory.manifold, coefficient=-0.1))
    potential = tm.fields.NeighbourPotential(jax.random.key(7), theory.manifold)
    strengths = 0.1 * jax.random.normal(jax.random.key(8), potential.site_strengths.shape)
    return tm.GradientField(jax.tree.map(lambda a: strengths if a is potential.site_strengths else a, potential))


def exactness(results: dict, names: list[str], samples: int, store) -> None:
    for name in names:
        build, step, width = EXACTNESS[name]
        theory = build()
        prior, (label, observable, exact) = prior_of(theory, width), reference(theory)
        for steps in (4, 8, 16, 32):
            for drift in (None, wrong_drift(theory)):
                key = f"{name}, {steps} steps" + ("" if drift is None else ", wrong drift")
                if key not in results:
                    flow = tm.LangevinFlow(prior, theory, steps, step_size=step, drift=drift)
                    model = tm.Model(prior, flow)
                    options = {"measure": {label: observable}, "batch_size": 500}
                    # Rows are independent, so that their pulls can be judged together.
                    key_of_row = jax.random.fold_in(jax.random.key(1), len(results))
                    ensemble = tm.sample(key_of_row, model, theory, samples, **options)
                    value = tm.expectation(ensemble, label)
                    results[key] = {
                        "ess": float(tm.ess_fraction(ensemble.log_weights)),
                        "log Z pull": float(tm.log_z(ensemble).pull(tm.exact.log_z(theory))),
                        f"{label} pull": float(value.pull(exact)),
                        "samples": samples,
                    }
                    store()
                row = results[key]
                pulls = ", ".join(f"{k} {v:+.1f}" for k, v in row.items() if "pull" in k)
                print(f"{key:32s} ESS {row['ess']:.3f}, {pulls}", flush=True)


def main() -> None:
    arguments = parser_of(__doc__ or "", "stochastic_exactness.json").parse_args()
    results, store = kept(arguments.out)
    names = ["u1_4x4"] if arguments.smoke else list(EXACTNESS)
    exactness(results, names, 64 if arguments.smoke else arguments.samples, store)


if __name__ == "__main__":
    main()
