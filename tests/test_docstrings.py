"""The examples of docstrings run as they stand; what users construct or call has one."""

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import trivmap as tm

# Results that functions return, states, errors: users read them, or catch them.
WITHOUT = {
    *(
        "ChainState",
        "HMCState",
        "History",
        "Interpolation",
        "Letter",
        "Population",
        "Source",
        "SteinFit",
        "StoredConfigurations",
    ),
    *("MetropolisState", "MissingDirection", "MissingDirections", "Solution", "Trace", "WeightNoise", "WindingLoops"),
}


def public_objects() -> Iterator[tuple[str, object]]:
    """All that packages export, once."""
    seen = set()
    for module in pkgutil.walk_packages(tm.__path__, "trivmap."):
        parts = module.name.split(".")
        if not module.ispkg or any(part.startswith("_") for part in parts) or "cli" in parts:
            continue
        for name, value in sorted(vars(importlib.import_module(module.name)).items()):
            own = getattr(value, "__module__", "").startswith("trivmap.")
            if own and not name.startswith("_") and callable(value) and id(value) not in seen:
                seen.add(id(value))
                yield f"{'.'.join(parts[1:])}.{name}", value


OBJECTS = dict(public_objects())
EXAMPLES = {
    name: found
    for name, value in OBJECTS.items()
    if (found := doctest.DocTestParser().get_examples(inspect.getdoc(value) or ""))
}


@pytest.fixture(scope="module")
def world() -> dict:
    """The names that examples use without saying where they are from; the page on the reference lists them."""
    key = jax.random.key(0)
    theory, scalar = tm.WilsonAction(tm.U1(), (4, 4), beta=2.0), tm.Phi4Action((4, 4), m2=-4.0, lam=8.0)
    flow = tm.ContinuousFlow(tm.GatedConvolutionField(theory.manifold), steps=2)
    model = tm.Model(tm.HaarPrior(theory.manifold), flow)
    return {
        **{"jax": jax, "jnp": jnp, "np": np, "optax": optax, "diffrax": diffrax, "tm": tm},
        **{"key": key, "theory": theory, "scalar": scalar, "flow": flow, "model": model},
        **{"links": theory.manifold.reference_sample(key), "phi": scalar.manifold.random_tangent(key)},
        "ensemble": tm.sample(key, model, theory, 100),
        "chain": tm.hmc(key, scalar, 50, steps=5, chains=2),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, world, tmp_path):
    """Each runs, and prints what it says that it prints."""
    names = world | {"folder": tmp_path}
    for example in EXAMPLES[name]:
        kind = "eval" if _is_expression(example.source) else "exec"
        result = eval(compile(example.source, name, kind), names)
        if example.want:
            assert repr(result) == example.want.strip()


def test_what_users_construct_has_an_example():
    classes = {name.split(".")[-1]: value for name, value in OBJECTS.items() if inspect.isclass(value)}
    bare = {
        name for name, value in classes.items() if not issubclass(value, BaseException) and ">>>" not in (value.__doc__ or "")
    }
    assert bare <= WITHOUT


def _is_expression(source: str) -> bool:
    try:
        compile(source, "example", "eval")
    except SyntaxError:
        return False
    return True
