"""What `import trivmap` costs and leaves alone, and whether the installed JAX computes right numbers."""

import ast
import json
import statistics
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers import as_users_have_it

import trivmap  # noqa: F401  (the hook of the tests must see the package before anything else does)

ROOT = Path(__file__).parents[1]


def _run(code: str, environment: dict[str, str] | None = None) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def test_import_is_quiet():
    """No backend, no heavy package, no changed JAX setting, no file."""
    code = """
import json, sys
import jax, diffrax, equinox, optax
from jax._src import xla_bridge
before = dict(jax.config.values)
import trivmap
print(json.dumps({
    "backend": xla_bridge.backends_are_initialized(),
    "changed": [k for k, v in jax.config.values.items() if before.get(k) != v],
    "heavy": [m for m in ("matplotlib", "h5py", "tyro", "tqdm", "scipy.special", "pandas") if m in sys.modules],
}))
"""
    bare = "import json, sys, jax, diffrax, equinox, optax; print(json.dumps('tqdm' in sys.modules))"
    seen = json.loads(_run(code))
    heavy = set(seen["heavy"]) - ({"tqdm"} if json.loads(_run(bare)) else set())
    assert seen["backend"] is False
    assert seen["changed"] == []
    assert heavy == set()


@pytest.mark.slow
def test_import_time(tmp_path):
    """The median of fresh processes; under 1.5 times the dependencies alone, both in one process: other work slows both."""
    # An installed package has its bytecode; a checkout under PYTHONDONTWRITEBYTECODE would be compiled at every import.
    environment = as_users_have_it() | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    code = """
import time
begin = time.perf_counter()
import jax, diffrax, equinox, optax
between = time.perf_counter()
import trivmap
print((time.perf_counter() - begin) / (between - begin))
"""
    ratios = [float(_run(code, environment)) for _ in range(6)][1:]
    assert statistics.median(ratios) < 1.5, f"import trivmap takes {ratios} times the time of its dependencies"


def test_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert version("trivmap") == project["version"]
    assert f"version: {project['version']}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()


# The sizes at which jaxlib 0.10.2 goes wrong on CPU (jax issues 39103, 39257, 40412): relative error 0.77 at 12^4 in float64.
CANARY = """
import jax, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)

def worst(size, dtype):
    matrix = jax.random.normal(jax.random.key(size), (2, size), dtype=dtype)
    rows = jax.random.normal(jax.random.key(1), (3, size), dtype=dtype)

    def norm(row):
        return jnp.sum((matrix @ row) ** 2)

    eager = jnp.stack([norm(row) for row in rows])
    return float(jnp.max(jnp.abs(jax.jit(jax.vmap(norm))(rows) / eager - 1)))

print([worst(size, jnp.float64) for size in (16385, 19683, 20736)], [worst(32769, jnp.float32)])
"""


def test_jit_agrees_with_eager():
    """In a process of its own, with the compiler as users have it."""
    double, single = (json.loads(part + "]") for part in _run(CANARY, as_users_have_it()).split("]")[:2])
    # A dot product of n terms is off by at most n eps of sum |terms|; that is about sqrt(n) times the result here.
    assert max(double) < 1e-9
    assert max(single) < 1e-2


def test_multiply_reduce_of_rank_seven_float32():
    """Segfaults on jaxlib 0.10.2, hence in a process of its own."""
    code = """
import jax, jax.numpy as jnp
a = jax.random.normal(jax.random.key(0), (3, 3, 1, 4, 4, 4, 4), dtype=jnp.float32)
b = jax.random.normal(jax.random.key(1), (3, 3, 1, 4, 4, 4, 4), dtype=jnp.float32)
f = lambda a, b: jnp.sum(a[:, :, None] * b[None], axis=1)
print(float(jnp.max(jnp.abs(jax.jit(f)(a, b) - f(a, b)))))
"""
    # three products of order one in float32
    assert float(_run(code, as_users_have_it())) < 1e-5


def _private_imports(path: Path, package: Path) -> list[str]:
    """Private modules and names that a module takes from another sub-package."""
    here, found = path.relative_to(package.parent).with_suffix("").parts[:-1], []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = here[: len(here) - node.level + 1] if node.level else ()
        module = (*base, *(node.module or "").split("."))
        for alias in node.names:
            parts = [part for part in (*module, alias.name) if part]
            foreign = len(parts) > 2 and parts[0] == package.name and parts[1] != (*here, path.stem)[1]
            if foreign and any(part.startswith("_") for part in parts[2:]):
                found.append(f"{path.relative_to(package)}: {'.'.join(parts)}")
    return found


def test_packages_import_public_names_of_each_other():
    package = ROOT / "src" / "trivmap"
    assert [line for path in sorted(package.rglob("*.py")) for line in _private_imports(path, package)] == []


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("from ..groups._matrix import trace", 1),
        ("from ..groups import _matrix, SU", 1),
        ("from trivmap.groups._su import SU", 1),
        ("from ..groups import SU", 0),
        ("from ._wilson import WilsonAction", 0),
        ("from .._types import Array", 0),
        ("from jax._src import core", 0),
    ],
)
def test_private_imports_are_found(tmp_path, line, count):
    path = tmp_path / "trivmap" / "theories" / "_new.py"
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert len(_private_imports(path, tmp_path / "trivmap")) == count


def test_names_of_the_layers_are_found():
    with pytest.raises(AttributeError, match="has no attribute 'CF4': it is trivmap.solvers.CF4"):
        trivmap.CF4  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'$"):
        trivmap.nonsense  # noqa: B018
