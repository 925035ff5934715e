"""Matrix groups in the fast layout: group elements are `(*element_shape, *sites)`, colours lead and sites trail.

Generators are anti-Hermitian with `tr(T_a T_b) = -delta_ab / 2`; derivatives are right-trivialised,
`d_a f(U) = d/ds f(exp(s T_a) U)`. Functions of matrices `(n, n, *sites)` stand beside the groups.
"""

from ._algebra import generators as generators
from ._base import AbstractGroup as AbstractGroup
from ._base import real_dtype as real_dtype
from ._eigen import eigenphases as eigenphases
from ._eigen import special_polar_factor as special_polar_factor
from ._eigen import spectral_matrix as spectral_matrix
from ._exponential import cos_sinc as cos_sinc
from ._exponential import exp_taylor as exp_taylor
from ._matrix import adjoint as adjoint
from ._matrix import anti_hermitian_traceless as anti_hermitian_traceless
from ._matrix import conjugate as conjugate
from ._matrix import matrix_product as matrix_product
from ._matrix import to_complex as to_complex
from ._matrix import trace as trace
from ._stacks import adjoint_times_stack as adjoint_times_stack
from ._stacks import stack_times as stack_times
from ._stacks import stack_times_adjoint as stack_times_adjoint
from ._su import SU as SU
from ._u1 import U1 as U1
