"""What all gauge code shares: planes and plaquettes, staples, Casimirs, closed paths, the algebra of products of traces.

Links are `(dim, *element_shape, *lattice)`. Words of the loop code:

- *path*: a tuple of signed steps, `mu + 1` from x to x + mu, `-(mu + 1)` back; it has no place on the lattice.
- *loop*: a closed path with the site where it starts, `Loop(start, steps)`; stands for the trace of its links in order.
- *letter*: one link of a loop, with its site, its direction and the sign +1 for U, -1 for U^dagger.
- *cut*: position between two steps. Derivatives by a letter insert a generator at its cut, and open the loop there: the
  *open loop* is the product of all its links, starting from the cut.
- *term*: a product of traces, canonical if it is the least of its translates, rotations and reflections; an *expression* is a
  linear combination of terms with rational coefficients.
- *placed* term: the translate whose least coordinates are zero; *image*: the term under an element of the hypercubic group.
- *family*: several terms, each summed over sites and images, with the terms that occur in their Laplacians.
- *half path*: a loop is the trace of a left half times the adjoint of a right half; halves are shared between loops.
- *program*: the index tables by which a family is evaluated (`_program`), NumPy arrays that know no lattice.
"""

from ._algebra import Expression as Expression
from ._algebra import LoopAlgebra as LoopAlgebra
from ._algebra import Term as Term
from ._algebra import translated as translated
from ._casimir import casimir as casimir
from ._charge import geometric_charge as geometric_charge
from ._evaluate import expression_values as expression_values
from ._evaluate import family_gradient as family_gradient
from ._evaluate import family_values as family_values
from ._family import LoopFamily as LoopFamily
from ._link_occurrences import loop_curvatures as loop_curvatures
from ._link_occurrences import loop_reach as loop_reach
from ._link_occurrences import loops_are_linear as loops_are_linear
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
from ._plaquettes import plaquette_traces as plaquette_traces
from ._recursion import solve_laplacian as solve_laplacian
from ._recursion import trivializing_series as trivializing_series
from ._staples import staple_links as staple_links
from ._staples import staple_plaquettes as staple_plaquettes
from ._staples import staple_sum as staple_sum
from ._staples import staple_sum_of as staple_sum_of
from ._staples import staples as staples
