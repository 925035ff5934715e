"""Coefficients of the commutator-free schemes (sources in the docstrings of the solvers)."""

from math import sqrt

from ._tableau import CommutatorFreeTableau, LowStorageTableau

_R = sqrt(2.0)

LUESCHER_W3 = LowStorageTableau("LuescherW3", 3, a=(0.0, -17 / 32, -32 / 27), b=(1 / 4, 8 / 9, 3 / 4))
LSCFRK3W7 = LowStorageTableau("LSCFRK3W7", 3, a=(0.0, -5 / 9, -153 / 128), b=(1 / 3, 15 / 16, 8 / 15))
LSCFRK4 = LowStorageTableau(
    "LSCFRK4",
    4,
    a=(
        0.0,
        -567301805773 / 1357537059087,
        -2404267990393 / 2016746695238,
        -3550918686646 / 2091501179385,
        -1275806237668 / 842570457699,
    ),
    b=(
        1432997174477 / 9575080441755,
        5161836677717 / 13612068292357,
        1720146321549 / 2090206949498,
        3134564353537 / 4481467310338,
        2277821191437 / 14882151754819,
    ),
)
EES25 = LowStorageTableau("EES25", 2, a=(0.0, -7 / 15, -35 / 32), b=(1 / 3, 15 / 16, 2 / 5))
EES27 = LowStorageTableau(
    "EES27",
    2,
    a=(0.0, (4 * _R - 7) / 3, -(4 + 5 * _R) / 12, 3 * (8 * _R - 31) / 49),
    b=((2 - _R) / 3, (4 + _R) / 8, 3 * (3 - _R) / 7, (9 - 4 * _R) / 14),
)

CF3 = CommutatorFreeTableau(
    "CF3",
    3,
    bases=(0, 0, 1),
    exponents=(((1 / 3,),), ((0.0, 2 / 3),), ((-1 / 12, 0.0, 3 / 4),)),
    c=(0.0, 1 / 3, 2 / 3),
)
CF4 = CommutatorFreeTableau(
    "CF4",
    4,
    bases=(0, 0, 1, 0),
    exponents=(
        ((1 / 2,),),
        ((0.0, 1 / 2),),
        ((-1 / 2, 0.0, 1.0),),
        ((1 / 4, 1 / 6, 1 / 6, -1 / 12), (-1 / 12, 1 / 6, 1 / 6, 1 / 4)),
    ),
    c=(0.0, 1 / 2, 1 / 2, 1.0),
)


def crouch_grossman(name: str, order: int, a: tuple[tuple[float, ...], ...], b: tuple[float, ...]) -> CommutatorFreeTableau:
    """Crouch-Grossman scheme: one exponential per slope, Y_i = exp(h a_{i,i-1} F_{i-1}) ... exp(h a_{i1} F_1) y.

    Args:
        name: name of the scheme.
        order: declared order.
        a: rows of the strictly lower triangular Runge-Kutta matrix for stages 2..s.
        b: weights of the result.
    """
    return CommutatorFreeTableau(
        name,
        order,
        bases=(0,) * len(b),
        exponents=tuple(tuple((0.0,) * j + (r,) for j, r in enumerate(row) if r != 0) for row in (*a, b)),
        c=(0.0, *(sum(row) for row in a)),
    )


CG2 = crouch_grossman("CG2", 2, a=((1 / 2,),), b=(0.0, 1.0))
CG3 = crouch_grossman("CG3", 3, a=((3 / 4,), (119 / 216, 17 / 108)), b=(13 / 51, -2 / 3, 24 / 17))
CG4 = crouch_grossman(
    "CG4",
    4,
    a=(
        (0.8177227988124852,),
        (0.3199876375476427, 0.0659864263556022),
        (0.9214417194464946, 0.4997857776773573, -1.0969984448371582),
        (0.3552358559023322, 0.2390958372307326, 1.3918565724203246, -1.1092979392113565),
    ),
    b=(0.1370831520630755, -0.0183698531564020, 0.7397813985370780, -0.1907142565505889, 0.3322195591068374),
)
