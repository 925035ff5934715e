"""Objectives: losses of a batch that are minimal at the theory."""

from ._continuity import action_matching as action_matching
from ._continuity import continuity_residual as continuity_residual
from ._craft import craft as craft
from ._forward_kl import ForwardKL as ForwardKL
from ._log_variance import log_variance as log_variance
from ._matching import FlowMatching as FlowMatching
from ._matching import ScoreMatching as ScoreMatching
from ._mixture import MixedObjective as MixedObjective
from ._path_gradient import path_gradient as path_gradient
from ._reinforce import reinforce as reinforce
from ._reverse_kl import reverse_kl as reverse_kl
