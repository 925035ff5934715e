"""The ladder field: every plaquette moves by its own trivializing force, whatever the lattice around it does."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Inexact

from .._checks import finite, integers
from ..gauge import casimir, planes
from ..groups import SU, AbstractGroup, conjugate
from ..lattice import shift, site_sum
from ..manifolds import AbstractManifold, LinkField, links_of
from ..theories import AbstractTheory, coupling, number
from ._axial import Frame, axial_frame, convolve, extend, next_site, scaled, tile, toeplitz
from ._base import AbstractVectorField
from ._class_potential import ClassPotential
from ._time import chebyshev_basis

_TURN = (-1, -2)


class _Kernels(NamedTuple):
    """Weights at one time; the last axis holds offsets along the ladder, in lattice spacings, centred."""

    ladder: Array  # (2 h + 1,): plaquettes of a column -> velocity of its rungs
    column: Array  # (2 h + 1,): plaquettes of a column -> their sum
    row: Array  # (outputs, 2 h): column sums -> velocity of the stiles; their plain sum, if there are gates
    gates: Array  # coefficients of w, w^2, ... in g


class _Plane(NamedTuple):
    """A plane seen along Y: rungs `u` along X, stiles `w` along Y; site axes (..., X, Y) trail."""

    u: Array
    w: Array
    plaquette: Array  # at the corner x
    moved: Array  # the same from the corner x + u, stored there
    slopes: Array  # phi_x, phi_y of the class of the plaquette
    rate: Array  # divergence of the force as the plaquette moves
    real: Array  # real trace of the plaquette
    leading: Array  # its gradient
    frame_u: Frame  # rows, along X
    frame_w: Frame  # columns, along Y
    change: Array  # from the frame of columns to that of rows


class LadderField(AbstractVectorField):
    r"""SU(N) links move so that each plaquette follows the trivializing flow of a single plaquette.

    Let $\phi_b$ be the potential whose gradient carries Haar measure to $\exp(b\,\mathrm{Re\,tr}P/N)$ for one matrix, and
    $M = -\partial\phi_b(P)$ the force on a plaquette. A link that moves by v changes the two plaquettes beside it in opposite
    directions, so the sum over a ladder of plaquettes above and below it,

    $$v_e = \beta \sum_j K_j\, \mathrm{Ad}(\text{tail}_j)\, M(P_j), \qquad K_j - K_{j-1} = \delta_{j0} - 1/L,$$

    with parallel transport along the stile of the ladder, moves each plaquette of the column by its own M up to a
    conjugation, which its trace does not see, and up to 1/L times the sum of M over the column. A second term cancels
    that sum: links of the other direction see the column sums along their row, with the same kernel. What is left is a
    sum over the lattice divided by its volume: in two dimensions the variance of log w does not grow with the volume.
    Rows and columns, both stiles, and both ends of a link are averaged, so that the field has all lattice symmetries.

    A tail contains the link itself only beyond the other end of it, where the motion keeps Haar measure; so the divergence
    comes from the two adjacent plaquettes and is exact in closed form, at O(V) matrix products and convolutions along axes.

    The sum over the lattice that is left couples all pairs of plaquettes weakly. To leading order it is cancelled when the
    stiles also move by the whole row of column sums, times g(w) of the plaquette ahead minus g(w) of the one behind
    (`gates`: polynomials g without constant term, a few numbers that are learned or scanned).

    Learned on top of that, all zero at the start: `gates`, corrections to the kernels, and changes of the coefficients of
    phi. Time is the coupling: the field at time t uses functions of b = beta t on [0, largest_coupling], so that one set of
    coefficients serves every beta up to that.

    **Arguments:**

    - `manifold`: `LinkField(SU(n), lattice)` of two or more dimensions; n up to 5. Planes share the kernels. Beyond two
      dimensions plaquettes are not independent and the initial kernel is the local one of the leading order.
    - `beta`: inverse coupling of the Wilson action to be reached, a number or `theory.beta`; it is frozen.
    - `largest_coupling`: at least beta, the default. The tables of phi belong to it: models for several couplings share one.
    - `gates`: degree of g.
    - `reach`: largest offset of learned kernels, by default half of the largest extent.
    - `times`: number of Chebyshev polynomials in b of every learned coefficient. `degree`: of the potential phi.

    **Raises:** `TypeError` for scalars and U(1) (use `GatedConvolutionField`), `ValueError` for extents below two.

        >>> field = tm.LadderField(tm.LinkField(tm.SU(2), (4, 4)), beta=2.2)
        >>> flow = tm.ContinuousFlow(field, steps=4)
    """

    potential: ClassPotential
    ladder: Float[Array, "times reach"]
    column: Float[Array, "times reach+1"]
    row: Float[Array, "times reach"]
    gates: Float[Array, "times gates"]
    beta: Float[Array, ""]
    manifold: LinkField = eqx.field(static=True)

    def __init__(
        self,
        manifold: AbstractManifold,
        beta: float | Float[Array, ""],
        *,
        largest_coupling: float | None = None,
        gates: int = 2,
        reach: int | None = None,
        times: int = 4,
        degree: int = 6,
        dtype: DTypeLike | None = None,
    ):
        message = f"LadderField acts on SU(N) links, but was given {manifold}; use GatedConvolutionField."
        manifold = links_of(SU, manifold, message)
        if len(manifold.lattice) < 2 or min(manifold.lattice) < 2:
            raise ValueError(f"LadderField needs two or more extents of at least two, but the lattice is {manifold.lattice}.")
        self.beta = coupling("LadderField: beta", beta)
        value = number(beta)
        if largest_coupling is None and math.isnan(value):
            raise TypeError("LadderField: where beta is traced, largest_coupling has to be given: it sets the tables of phi.")
        largest = float(value if largest_coupling is None else largest_coupling)
        finite("LadderField: largest_coupling", largest)
        # The value of a traced coupling is not known.
        if not (math.isnan(value) or 0 < value <= largest):
            raise ValueError(f"LadderField needs 0 < beta <= largest_coupling, but was given {beta} and {largest}.")
        integers("LadderField", 1, times=times, degree=degree)
        integers("LadderField", 0, gates=gates, reach=0 if reach is None else reach)
        dtype = jnp.zeros(0).dtype if dtype is None else dtype
        reach = max(manifold.lattice) // 2 if reach is None else reach
        self.potential = ClassPotential.trivializing(manifold.group.n, largest, degree=degree, dtype=dtype)
        self.ladder, self.row = jnp.zeros((times, reach), dtype), jnp.zeros((times, reach), dtype)
        self.column = jnp.zeros((times, reach + 1), dtype)
        self.gates = jnp.zeros((times, gates), dtype)
        self.manifold = manifold

    def frozen_fields(self) -> tuple[str, ...]:
        """The coupling, which is physics."""
        return ("beta",)

    def at(self, manifold: AbstractManifold, beta: float | Float[Array, ""]) -> "LadderField":
        """The field with the same learned numbers on another lattice and at another beta.

        **Raises:** `ValueError` for a beta beyond `largest_coupling`.
        """
        largest, value = self.potential.largest_coupling, number(beta)
        if not (math.isnan(value) or 0 < value <= largest):
            raise ValueError(f"LadderField.at: got beta = {beta}, expected 0 < beta <= largest_coupling = {largest}.")
        fresh = LadderField(
            manifold,
            beta,
            largest_coupling=largest,
            gates=self.gates.shape[1],
            times=self.gates.shape[0],
            reach=self.ladder.shape[1],
            degree=self.potential.degree,
        )
        learned = lambda f: (f.potential, f.ladder, f.column, f.row, f.gates)  # noqa: E731
        return eqx.tree_at(learned, fresh, learned(self))

    def on(self, manifold: AbstractManifold) -> "LadderField":
        return self.at(manifold, self.beta)

    def transferred(self, theory: AbstractTheory) -> "LadderField":
        """The field at the coupling of a theory.

        **Raises:** `TypeError` for a theory without beta, `ValueError` as `at`.
        """
        beta = getattr(theory, "beta", None)
        if beta is None:
            raise TypeError(f"transfer: got a LadderField and a {type(theory).__name__}, expected a WilsonAction.")
        return self.at(theory.manifold, beta)

    def __call__(self, t: Float[Array, ""], x: Inexact[Array, "*shape"]) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        b = (t * self.beta.astype(t.dtype)).astype(x.real.dtype)
        velocity, divergence = jnp.zeros_like(x), site_sum(jnp.zeros_like(x.real[:0]))
        for mu, nu in planes(len(self.manifold.lattice)):
            along_mu, along_nu, trace = self._plane(b, x, mu, nu)
            velocity = velocity.at[mu].add(along_mu).at[nu].add(along_nu)
            divergence = divergence + trace
        # phi_b is the potential of d/db; the flow is in t = b/beta.
        return velocity * self.beta.astype(velocity.dtype), divergence * self.beta.astype(divergence.dtype)

    def _plane(self, b: Array, x: Array, mu: int, nu: int) -> tuple[Array, Array, Array]:
        """Velocities along mu and nu from the plaquettes of one plane, and their divergence."""
        group, axes = self.manifold.group, (2 + mu, 2 + nu)
        u, w = (jnp.moveaxis(x[direction], axes, (-2, -1)) for direction in (mu, nu))
        corners = group.multiply(u, shift(w, 0, 1, 2)), group.multiply(w, shift(u, 1, 1, 2))
        plaquette = group.multiply(corners[0], group.adjoint(corners[1]))
        slopes, rate = self._rate(b, plaquette)
        leading = trace_gradients(group, plaquette)[0]
        frame_u, frame_w = axial_frame(jnp.swapaxes(u, *_TURN)), axial_frame(w)
        change = group.multiply(jnp.swapaxes(frame_u.prefix, *_TURN), group.adjoint(frame_w.prefix))
        moved = [shift(conjugate(group.adjoint(link), plaquette), axis, -1, 2) for axis, link in enumerate((u, w))]
        plane = _Plane(
            u, w, plaquette, moved[0], slopes, rate, group.real_trace(plaquette), leading, frame_u, frame_w, change
        )
        v_u, s_w, trace = self._direction(b, plane)
        # Both directions use one code and what was computed already: the turned view costs transposes and one adjoint.
        # Seen from the other direction the plaquette is traversed backwards, which changes the sign of Im w.
        backwards = plane._replace(
            u=w,
            w=u,
            plaquette=group.adjoint(plaquette),
            moved=group.adjoint(moved[1]),
            slopes=jnp.stack([slopes[0], -slopes[1]]),
            leading=-leading,
            change=group.adjoint(change),
            frame_u=None,
            frame_w=None,
        )
        # Frames hold their own axis last already.
        turned = jax.tree.map(lambda a: jnp.swapaxes(a, *_TURN), backwards)._replace(frame_u=frame_w, frame_w=frame_u)
        v_w, s_u, turned_trace = self._direction(b, turned)
        v_u, v_w = v_u + jnp.swapaxes(s_u, *_TURN), s_w + jnp.swapaxes(v_w, *_TURN)
        return jnp.moveaxis(v_u, (-2, -1), axes), jnp.moveaxis(v_w, (-2, -1), axes), trace + turned_trace

    def _rate(self, b: Array, plaquette: Array) -> tuple[Array, Array]:
        """Slopes of the potential, and the divergence of its force as the plaquette moves."""
        group = self.manifold.group
        w = group.trace(plaquette)
        d = self.potential.derivatives(b, w)
        real, imaginary = trace_gradients(group, plaquette)
        laplacian = -float(casimir(group.n)) * (d[0] * w.real + d[1] * w.imag)
        laplacian = laplacian + d[2] * group.inner(real, real) + 2 * d[3] * group.inner(real, imaginary)
        laplacian = laplacian + d[4] * group.inner(imaginary, imaginary)
        return d[:2], -laplacian

    def _direction(self, b: Array, plane: _Plane) -> tuple[Array, Array, Array]:
        """Velocity of the rungs u and of the stiles w from ladders along Y, and its divergence."""
        group = self.manifold.group
        kernels = self._kernels(b, *plane.u.shape[-2:])
        rungs, sums = _column_sums(group, plane, kernels)
        stiles = _row_sums(group, plane, kernels, sums)
        h = kernels.ladder.size // 2
        # A rung sees the plaquette at x through the weight at offset 0, the one behind it through that at -1.
        trace = site_sum((kernels.ladder[h] - kernels.ladder[h - 1]) * plane.rate)
        velocity, other = self._stiles(stiles, kernels, plane)
        return rungs, velocity, trace + other

    def _stiles(self, outputs: Array, kernels: _Kernels, plane: _Plane) -> tuple[Array, Array]:
        """Velocity of the stiles, the gated row sum added, and its divergence."""
        group, k = self.manifold.group, kernels.row.shape[-1] // 2
        # Weights of the plaquettes at x and at x - u in each output.
        ahead, behind = (kernels.row[:, offset] * kernels.column[kernels.column.size // 2] for offset in (k, k - 1))
        velocity, trace = outputs[0], site_sum((ahead[0] - behind[0]) * plane.rate)
        if kernels.gates.size == 0:
            return velocity, trace
        near, far = plane.real, shift(plane.real, 0, -1, 2)
        # The stile closes the plaquette at x, hence the sign; it sees the one behind from the far end of a rung.
        across = shift(conjugate(group.adjoint(plane.u), plane.leading), 0, -1, 2)
        pull, push = group.inner(-plane.leading, outputs[1]), group.inner(across, outputs[1])
        gate, slope = jnp.zeros_like(near), jnp.zeros_like(near)
        for power, coefficient in enumerate(kernels.gates, start=1):
            gate = gate + coefficient * (near**power - far**power)
            slope = slope + coefficient * power * (near ** (power - 1) * pull - far ** (power - 1) * push)
        rate = ahead[1] * plane.rate - behind[1] * shift(plane.rate, 0, -1, 2)
        return velocity + scaled(gate, outputs[1]), trace + site_sum(gate * rate) + site_sum(slope)

    def _kernels(self, b: Array, across: int, along: int) -> _Kernels:
        """All weights for a ladder of `along` plaquettes in rows of `across`."""
        basis = chebyshev_basis(b / self.potential.largest_coupling, self.ladder.shape[0])

        def at(parameters: Array, size: int) -> Array:
            values = jnp.tensordot(basis, parameters.astype(b.dtype), 1)
            missing = max(size - values.shape[-1], 0)
            return jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])[..., :size]

        planar = len(self.manifold.lattice) == 2
        half, h = along // 2, across // 2
        ladder, row, column = at(self.ladder, half), at(self.row, h), at(self.column, half + 1)
        ladder = ladder + jnp.asarray(_sawtooth(along, planar), b.dtype) / 2
        if planar:
            row = row + jnp.asarray(_sawtooth(across, planar), b.dtype) / 2
            column = column + jnp.asarray(_average(along), b.dtype)
        gates = jnp.tensordot(basis, self.gates.astype(b.dtype), 1)
        row = _odd(row)[None]
        if gates.size:
            # A second output, the mean of the column sums along the row, which the gates multiply.
            row = jnp.concatenate([row, jnp.full_like(row, 1 / across)])
        return _Kernels(
            # One zero more, so that both kernels have one length and `_column_sums` one convolution.
            ladder=jnp.pad(_odd(ladder), (0, 1)),
            column=jnp.concatenate([column[:0:-1], column]),
            row=row,
            gates=gates,
        )


def trace_gradients(group: AbstractGroup, plaquette: Array) -> tuple[Array, Array]:
    """sum_a T_a d_a of Re w and of Im w, w = tr P/N, for motions exp(v) P."""
    scale = -1 / (2 * group.n)
    return scale * group.project_algebra(plaquette), scale * group.project_algebra(-1j * plaquette)


def _sawtooth(extent: int, planar: bool) -> np.ndarray:
    """K_j for j = 0..extent/2 - 1, the solution of K_j - K_{j-1} = delta_{j0} - 1/L that is odd about the link."""
    offsets = np.arange(extent // 2)
    return 0.5 - (offsets + 0.5) / extent if planar else np.where(offsets == 0, 0.5, 0.0)


def _average(extent: int) -> np.ndarray:
    """Weights of the plaquettes at offsets 0..extent/2 on either side: all of the column, with total weight one."""
    weights = np.full(extent // 2 + 1, 1 / extent)
    if extent % 2 == 0:
        # The plaquette half-way around is reached from both sides.
        weights[-1] /= 2
    return weights


def _odd(kernel: Array) -> Array:
    """Offsets -h..h-1 from offsets 0..h-1, odd under j -> -1 - j."""
    return jnp.concatenate([-kernel[..., ::-1], kernel], axis=-1)


def _column_sums(group: AbstractGroup, plane: _Plane, kernels: _Kernels) -> tuple[Array, Array]:
    """Velocities of the rungs; column sums `(2, n, n, *sites)` in the frame of the columns, through either stile."""
    kernel = toeplitz(jnp.stack([kernels.ladder, kernels.column])[:, None], plane.u.shape[-1])
    frame, size = plane.frame_w, kernel.shape[-2]
    # Plaquettes are transported, not their forces: the classes that weigh both traces are periodic numbers.
    loops = extend(group, frame, conjugate(frame.prefix, jnp.stack([plane.plaquette, plane.moved])), size)
    slopes = tile(jnp.stack([plane.slopes, shift(plane.slopes, 0, -1, 2)]), size)

    # The force depends on the plaquette through its class alone: the slopes belong to it wherever it is transported.
    def force(slope: Array, loop: Array) -> Array:
        real, imaginary = trace_gradients(group, loop)
        return -(scaled(slope[0], real) + scaled(slope[1], imaginary))

    forces = jax.vmap(force)(slopes, loops)
    sums = convolve(group, forces[:, None], kernel)
    from_left = group.adjoint(frame.prefix)
    from_right = group.multiply(plane.u, shift(from_left, 0, 1, 2))
    rungs = conjugate(from_left, sums[0, 0]) + conjugate(from_right, shift(sums[1, 0], 0, 1, 2))
    return rungs / 2, sums[:, 1]


def _row_sums(group: AbstractGroup, plane: _Plane, kernels: _Kernels, sums: Array) -> Array:
    """Outputs at the stiles from the column sums along rows, through either end of the stile."""
    # The column sum of row y is seen from both ends of the stile that starts there: along row y and along row y + 1.
    ends = jnp.stack([sums, next_site(group, plane.frame_w, sums)])
    turned = jnp.swapaxes(conjugate(plane.change, ends), *_TURN)
    nothing = jnp.zeros((kernels.row.shape[0], kernels.row.shape[1] // 2 + 1), kernels.row.dtype)
    # Columns ahead are reached on their far stile, columns behind on their near one: no tail meets the link.
    behind, ahead = jnp.split(kernels.row, 2, axis=-1)
    weights = jnp.stack([jnp.concatenate([behind, nothing], -1), jnp.concatenate([nothing, ahead], -1)], axis=1)
    kernel = toeplitz(weights, plane.u.shape[-2])
    frame = plane.frame_u
    near, far = jnp.swapaxes(convolve(group, extend(group, frame, turned, kernel.shape[-2]), kernel), *_TURN)
    from_start = group.adjoint(jnp.swapaxes(frame.prefix, *_TURN))
    from_end = group.multiply(plane.w, shift(from_start, 1, 1, 2))
    return -(conjugate(from_start, near) + conjugate(from_end, shift(far, 1, 1, 2))) / 2
