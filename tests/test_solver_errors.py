"""What `integrate` refuses, and what it says."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from solver_problems import problem

from trivmap.solvers import CF4, EES27, LSCFRK4, RKMK, integrate


def test_steps_and_controllers_are_checked():
    manifold, field, x = problem("scalar")
    controller = diffrax.PIDController(rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="either steps"):
        integrate(field, manifold, x)
    with pytest.raises(ValueError, match="either steps"):
        integrate(field, manifold, x, steps=3, controller=controller)
    with pytest.raises(ValueError, match="steps: got 0, expected a positive integer"):
        integrate(field, manifold, x, steps=0)
    with pytest.raises(ValueError, match="must adapt"):
        integrate(field, manifold, x, solver=CF4(), controller=diffrax.ConstantStepSize())
    with pytest.raises(ValueError, match="does not estimate its error"):
        integrate(field, manifold, x, solver=diffrax.Euler(), controller=controller)
    with pytest.raises(ValueError, match="leave its manifold out"):
        integrate(field, manifold, x, solver=EES27(problem("U(1) flow").manifold), steps=1)
    with pytest.raises(ValueError, match="one number"):
        integrate(field, manifold, x, t1=jnp.ones(2), steps=1)


def test_fields_and_configurations_are_checked():
    manifold, field, x = problem("scalar")
    with pytest.raises(ValueError, match="shape"):
        integrate(field, manifold, x[:3], steps=1)
    with pytest.raises(TypeError, match=r"\(velocity, divergence\)"):
        integrate(lambda t, x: x, manifold, x, steps=1)
    with pytest.raises(ValueError, match="The velocity has shape"):
        integrate(lambda t, x: (x[:2], jnp.ones(())), manifold, x, steps=1)
    with pytest.raises(ValueError, match="float32"):
        integrate(lambda t, x: (x.astype(jnp.float32), jnp.ones(())), manifold, x, steps=1)
    with pytest.raises(ValueError, match="batch axis"):
        integrate(lambda t, x: (x, jnp.ones(4)), manifold, x, steps=1)


def test_exhausted_steps_say_what_to_do():
    manifold, field, x = problem("scalar")
    controller = diffrax.PIDController(rtol=0, atol=1e-10)
    with pytest.raises(Exception, match="max_steps=4"):
        jax.block_until_ready(integrate(field, manifold, x, solver=CF4(), controller=controller, max_steps=4))


def test_solvers_are_hashable_and_know_their_names():
    manifold = problem("scalar").manifold
    assert hash(CF4(manifold)) == hash(CF4(manifold))
    assert CF4(manifold) == CF4(manifold)
    assert repr(LSCFRK4()).startswith("LSCFRK4(")
    assert eqx.tree_equal(RKMK(diffrax.Tsit5(), manifold), RKMK(diffrax.Tsit5(), manifold))
