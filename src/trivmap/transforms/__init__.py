"""Invertible maps of single real numbers and angles, with their slopes: what coupling layers apply to active variables."""

from ._base import AbstractTransform as AbstractTransform
from ._circle import Moebius as Moebius
from ._circle import NonCompactProjection as NonCompactProjection
from ._circle import Phase as Phase
from ._composition import Composition as Composition
from ._line import Affine as Affine
from ._line import Shift as Shift
from ._spline import CircularSpline as CircularSpline
from ._spline import RationalQuadraticSpline as RationalQuadraticSpline
