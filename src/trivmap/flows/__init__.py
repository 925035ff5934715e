from ._base import AbstractFlow as AbstractFlow
from ._continuous import ContinuousFlow as ContinuousFlow
from ._continuous import StepHalving as StepHalving
