"""Comparisons of methods on equal terms."""

from ._command import compare_command as compare_command
from ._comparison import SHIPPED as SHIPPED
from ._comparison import Comparison as Comparison
from ._comparison import find_comparison as find_comparison
from ._comparison import read_comparison as read_comparison
from ._methods import METHODS as METHODS
from ._methods import Method as Method
from ._run import run_comparison as run_comparison
