"""Matrix groups in the fast layout: group elements are `(*element_shape, *sites)`, colours lead and sites trail.

Generators are anti-Hermitian with `tr(T_a T_b) = -delta_ab / 2`; derivatives are right-trivialised,
`d_a f(U) = d/ds f(exp(s T_a) U)`.
"""

from ._base import AbstractGroup as AbstractGroup
from ._su import SU as SU
from ._u1 import U1 as U1
