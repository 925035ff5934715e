import math

import numpy as np

from ._errors import NoExactResultError
from ._representations import CharacterExpansion


def strong_coupling_plaquette(expansion: CharacterExpansion, dimension: int, name: str) -> float:
    r"""Mean plaquette of the infinite lattice from the character expansion with single and double cubes.

    $$f = \binom d2 \log c_0 + \binom d3 \sum_{r \ne 0} d_r^2 u_r^6
      + \binom d2 \binom{2(d-2)}{2} \sum_{r \ne 0} d_r^2 u_r^{10} + O(u^{11}), \qquad u_r = c_r / c_0$$
    """
    planes = math.comb(dimension, 2)
    others = np.arange(expansion.dimension.size) != expansion.trivial
    u, first = expansion.ratio[others], expansion.first[others]
    mean = float(expansion.first[expansion.trivial])
    slope = first - u * mean
    weight = expansion.dimension[others] ** 2
    cubes = math.comb(dimension, 3) * 6 * float(np.sum(weight * u**5 * slope))
    pairs = planes * math.comb(2 * (dimension - 2), 2) * 10 * float(np.sum(weight * u**9 * slope))
    result = mean + (cubes + pairs) / planes
    # Beyond this the orders left out are of the size of the last one kept.
    if abs(pairs) > 0.01 * planes * abs(result):
        raise NoExactResultError(
            f"the strong-coupling expansion of {name} does not converge: its last term, order u^10, is "
            f"{pairs / planes:.1e} of a plaquette {result:.3f}. Use a smaller beta."
        )
    return result
