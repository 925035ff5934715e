"""Loop algebra: products of traces of closed paths, their exact Laplacians and inner products."""

from ._algebra import Expression as Expression
from ._algebra import LoopAlgebra as LoopAlgebra
from ._algebra import Term as Term
from ._algebra import translated as translated
from ._evaluate import expression_values as expression_values
from ._evaluate import family_values as family_values
from ._family import LoopFamily as LoopFamily
from ._paths import Loop as Loop
from ._paths import Path as Path
from ._recursion import solve_laplacian as solve_laplacian
from ._recursion import trivializing_series as trivializing_series
