"""Sites of a periodic lattice: shifts, sums, momenta, regions, symmetries and their orbits."""

from ._colouring import colour_sites as colour_sites
from ._momenta import convolve as convolve
from ._momenta import displacements as displacements
from ._momenta import hartley as hartley
from ._momenta import hartley_reversed as hartley_reversed
from ._momenta import squared_momentum as squared_momentum
from ._momenta import symbol as symbol
from ._orbits import hypercubic_orbits as hypercubic_orbits
from ._precision import PrecisionWarning as PrecisionWarning
from ._precision import warn_of_single_precision as warn_of_single_precision
from ._region import Region as Region
from ._region import checkerboard as checkerboard
from ._region import colour_classes as colour_classes
from ._region import slab as slab
from ._shift import shift as shift
from ._sites import accumulator_dtype as accumulator_dtype
from ._sites import check_lattice as check_lattice
from ._sites import neighbours as neighbours
from ._sites import site_sum as site_sum
from ._symmetry import reflect as reflect
from ._symmetry import rotate as rotate
from ._symmetry import translate as translate
