"""What all gauge code shares: planes and plaquettes, staples, Casimirs, closed paths, the algebra of products of traces.

Links are `(dim, *element_shape, *lattice)`; a path is a tuple of signed steps, `mu + 1` from x to x + mu.
"""

from ._algebra import Expression as Expression
from ._algebra import LoopAlgebra as LoopAlgebra
from ._algebra import Term as Term
from ._algebra import translated as translated
from ._casimir import casimir as casimir
from ._evaluate import expression_values as expression_values
from ._evaluate import family_gradient as family_gradient
from ._evaluate import family_values as family_values
from ._family import LoopFamily as LoopFamily
from ._links import link_matrices as link_matrices
from ._links import oriented_links as oriented_links
from ._paths import Letter as Letter
from ._paths import Loop as Loop
from ._paths import Path as Path
from ._paths import Site as Site
from ._paths import hypercubic_group as hypercubic_group
from ._paths import letters as letters
from ._paths import move as move
from ._paths import reverse as reverse
from ._paths import sites as sites
from ._paths import transformed as transformed
from ._plaquette_sum import plaquette_sum as plaquette_sum
from ._plaquettes import planes as planes
from ._plaquettes import plaquette_angle as plaquette_angle
from ._recursion import solve_laplacian as solve_laplacian
from ._recursion import trivializing_series as trivializing_series
from ._staples import staple_links as staple_links
from ._staples import staple_sum as staple_sum
from ._staples import staple_sum_of as staple_sum_of
from ._staples import staples as staples
