"""Actions, gradients and observables of deterministic fields against every such row of the reference data."""

import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

import trivmap as tm

REFERENCE = Path(__file__).parent / "reference"
GROUPS = {"U1": tm.U1(), "SU2": tm.SU(2), "SU3": tm.SU(3)}


def rows(name):
    data = json.loads((REFERENCE / f"{name}.json").read_text())["rows"]
    return [row for row in data if row["params"].get("kind") == "fixed_field"]


def identify(row):
    p = row["params"]
    parts = [p.get("group", ""), "x".join(map(str, p["shape"])), p.get("amplitude", ""), p.get("m2", ""), p.get("kappa", "")]
    return "-".join(str(part) for part in parts if part != "")


def compare(values, x, checkers):
    """Every key has a checker. Relative 1e-10, absolute below size one: these are sums of rounded O(1) terms."""
    assert set(values) <= set(checkers), set(values) - set(checkers)
    # One compilation for the row: operation by operation it would be hundreds.
    found = jax.jit(lambda x: {name: checkers[name](x) for name in values})(x)
    for name, expected in values.items():
        actual, expected = np.asarray(found[name]), np.asarray(expected)
        assert np.max(np.abs(actual - expected)) < 1e-10 * max(1.0, np.max(np.abs(expected))), (name, actual, expected)


def sine_angles(shape, amplitude=1.0):
    mu = np.arange(len(shape)).reshape((-1,) + (1,) * len(shape))
    weights = (2, 3, 4, 5)
    s = sum(weights[axis] * coordinate for axis, coordinate in enumerate(np.indices(shape)))
    return jnp.asarray(amplitude * np.sin(1 + s[None] + 5 * mu))


def exponential_links(n, shape):
    """exp(i H) of the `convention` entries; the cosine runs over other weights of the coordinates than the sine."""
    sine, cosine = ((2, 3), (1, 3)) if len(shape) == 2 else ((2, 3, 4, 5), (1, 3, 5, 7))
    links = np.empty((len(shape), n, n, *shape), complex)
    j, k = np.indices((n, n))
    for site in np.ndindex(*shape):
        for mu in range(len(shape)):
            s, c = (sum(w * x for w, x in zip(weights, site, strict=True)) for weights in (sine, cosine))
            m = np.sin(1 + s + 5 * mu + 7 * j + 11 * k) + 1j * np.cos(2 + c + 3 * mu + 5 * j + 2 * k)
            h = (m + m.conj().T) / 2
            links[(mu, slice(None), slice(None), *site)] = expm(1j * (h - np.trace(h) / n * np.eye(n)))
    return jnp.asarray(links)


def links_of(row):
    p = row["params"]
    group = GROUPS[p["group"]]
    if p["group"] == "U1":
        return group, sine_angles(p["shape"], p.get("amplitude", 1.0))
    return group, exponential_links(group.n, tuple(p["shape"]))


def sine_field(shape, amplitude):
    weights = (2, 3, 4, 5)
    s = sum(weights[axis] * coordinate for axis, coordinate in enumerate(np.indices(shape)))
    return jnp.asarray(amplitude * np.sin(1 + s))


def pair(z):
    return [z.real, z.imag]


def local_plaquette(group, x, mu, nu, site):
    """(1/N) Re tr of one plaquette, by plain matrix products (phases for U(1))."""
    matrix = (lambda m, s: np.exp(1j * np.asarray(x[m][tuple(s)]))) if group.n == 1 else None
    if matrix is None:

        def matrix(m, s):
            return np.asarray(x[m][(slice(None), slice(None), *s)])

    def step(s, axis):
        return [(c + (i == axis)) % x.shape[-len(site) :][i] for i, c in enumerate(s)]

    product = np.dot if group.n > 1 else np.multiply
    lower = product(matrix(mu, list(site)), matrix(nu, step(site, mu)))
    upper = product(matrix(nu, list(site)), matrix(mu, step(site, nu)))
    closed = product(lower, np.conj(upper).T)
    return (np.trace(closed) / group.n if group.n > 1 else closed).real


@pytest.mark.parametrize("row", rows("gauge2d"), ids=identify)
def test_two_dimensional_links(row):
    group, x = links_of(row)
    theory = tm.WilsonAction(group, tuple(row["params"]["shape"]), beta=1.0)
    corner = local_plaquette(group, x, 0, 1, (1, 1))
    checkers = {
        "plaquette": lambda x: tm.plaquette(x),
        "action_beta1": lambda x: theory.action(x),
        "wilson_1x2": lambda x: tm.wilson_loop(x, 1, 2, (0, 1)),
        "wilson_2x1": lambda x: tm.wilson_loop(x, 2, 1, (0, 1)),
        "wilson_2x2": lambda x: tm.wilson_loop(x, 2, 2),
        "plaquette_at_1_1": lambda _: corner,
        "topological_charge": lambda x: tm.topological_charge(x),
    }
    for axis in range(2):
        checkers |= {
            f"polyakov_axis{axis}_at_0": lambda x, axis=axis: pair(tm.observables.polyakov_lines(x, axis)[0]),
            f"polyakov_axis{axis}_abs2": lambda x, axis=axis: tm.observables.polyakov_correlator(x, 0, axis),
            f"polyakov_corr_axis{axis}_R1": lambda x, axis=axis: tm.observables.polyakov_correlator(x, 1, axis),
        }
    compare(row["values"], x, checkers)
    # The same loops with their axes named in the other order.
    compare({"wilson_1x2": row["values"]["wilson_1x2"]}, x, {"wilson_1x2": lambda x: tm.wilson_loop(x, 2, 1, (1, 0))})


@pytest.mark.parametrize("row", rows("gauge4d"), ids=identify)
def test_four_dimensional_links(row):
    group, x = links_of(row)
    theory = tm.WilsonAction(group, tuple(row["params"]["shape"]), beta=1.0)
    planes = [f"{mu},{nu}" for mu in range(4) for nu in range(mu + 1, 4)]
    corner = local_plaquette(group, x, 0, 3, (1, 1, 1, 1))
    expected = dict(row["values"])
    by_plane = expected.pop("plaquette_by_plane")
    assert set(by_plane) == set(planes)
    expected |= by_plane
    checkers = (
        {name: lambda x, name=name: tm.plaquette(x, tuple(map(int, name.split(",")))) for name in planes}
        | {
            "plaquette": lambda x: tm.plaquette(x),
            "action_beta1": lambda x: theory.action(x),
            "plaquette_03_at_1111": lambda _: corner,
            "wilson_axis0_1_axis3_2": lambda x: tm.wilson_loop(x, 1, 2, (0, 3)),
            "wilson_axis1_1_axis2_2": lambda x: tm.wilson_loop(x, 1, 2, (1, 2)),
        }
        | {f"mean_polyakov_axis{axis}": lambda x, axis=axis: pair(tm.observables.polyakov_loop(x, axis)) for axis in range(4)}
    )
    compare(expected, x, checkers)


@pytest.mark.parametrize("row", rows("schwinger"), ids=identify)
def test_gauge_part_of_the_schwinger_rows(row):
    p = row["params"]
    x = sine_angles(p["shape"], p["amplitude"])
    theory = tm.WilsonAction(tm.U1(), tuple(p["shape"]), beta=1.0)
    values = {name: row["values"][name] for name in ("gauge_action_beta1", "topological_charge")}
    checkers = {"gauge_action_beta1": lambda x: theory.action(x), "topological_charge": lambda x: tm.topological_charge(x)}
    compare(values, x, checkers)


@pytest.mark.parametrize("row", rows("scalar_free"), ids=identify)
def test_free_scalar(row):
    p = row["params"]
    x = sine_field(p["shape"], p["amplitude"])
    theory = tm.theories.FreeScalarAction(tuple(p["shape"]), m2=p["m2"])
    # Its kinetic term, m2 = 0, is no theory: the constructor refuses it.
    massless = eqx.tree_at(lambda t: t.m2, theory, jnp.zeros_like(theory.m2))
    site = tuple(row["values"]["gradient_site"])
    checkers = {
        "action": lambda x: theory.action(x),
        "kinetic": lambda x: massless.action(x),
        "log_prob": lambda x: -theory.action(x) - tm.exact.log_z(theory),
        "mean_field": lambda x: tm.magnetisation(x),
        "gradient_site": lambda x: list(site),
        "gradient": lambda x: theory.gradient(x)[site],
    }
    compare(row["values"], x, checkers)


@pytest.mark.parametrize("row", rows("phi4_2d"), ids=identify)
def test_phi4(row):
    p = row["params"]
    x = sine_field(p["shape"], p["amplitude"])
    theory = tm.Phi4Action(tuple(p["shape"]), m2=p["m2"], lam=p["lam"])
    site = tuple(row["values"]["gradient_site"])
    checkers = {
        "action": lambda x: theory.action(x),
        "gradient_site": lambda x: list(site),
        "gradient": lambda x: theory.gradient(x)[site],
        "gradient_norm2": lambda x: jnp.sum(theory.gradient(x) ** 2),
    }
    compare(row["values"], x, checkers)


def test_one_matrix_rows_by_the_exponential_of_the_library():
    for row in json.loads((REFERENCE / "sun_matrix.json").read_text())["rows"]:
        n = row["params"]["N"]
        j, k = np.indices((n, n))
        m = np.sin(1 + 7 * j + 11 * k) + 1j * np.cos(2 + 5 * j + 2 * k)
        h = (m + m.conj().T) / 2
        u = tm.SU(n).exp(jnp.asarray(1j * (h - np.trace(h) / n * np.eye(n))))
        trace = n * tm.SU(n).trace(u)
        assert np.max(np.abs(np.array(pair(trace)) - row["values"]["tr_test_matrix"])) < 1e-12


def test_the_rows_are_there():
    assert [len(rows(name)) for name in ("gauge2d", "gauge4d", "schwinger", "scalar_free", "phi4_2d")] == [11, 6, 20, 5, 3]
    assert jax.config.jax_enable_x64
