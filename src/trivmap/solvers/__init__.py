"""Solvers on manifolds: fixed and adaptive steps that stay on the group, with log-det and embedded errors."""

from ._base import Integration as Integration
from ._base import VectorField as VectorField
from ._commutator_free import CF3 as CF3
from ._commutator_free import CF4 as CF4
from ._commutator_free import CG2 as CG2
from ._commutator_free import CG3 as CG3
from ._commutator_free import CG4 as CG4
from ._commutator_free import EES25 as EES25
from ._commutator_free import EES27 as EES27
from ._commutator_free import LSCFRK3W7 as LSCFRK3W7
from ._commutator_free import LSCFRK4 as LSCFRK4
from ._commutator_free import AbstractCommutatorFree as AbstractCommutatorFree
from ._commutator_free import AbstractLowStorage as AbstractLowStorage
from ._commutator_free import LuescherW3 as LuescherW3
from ._integrate import DensePath as DensePath
from ._integrate import integrate as integrate
from ._integrate import integrate_dense as integrate_dense
from ._rkmk import RKMK as RKMK
from ._rkmk import dexpinv as dexpinv
from ._solver import AbstractGroupSolver as AbstractGroupSolver
from ._stepwise import max_norm as max_norm
from ._tableau import CommutatorFreeTableau as CommutatorFreeTableau
from ._tableau import LowStorageTableau as LowStorageTableau
