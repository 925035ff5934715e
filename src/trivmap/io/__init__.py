"""Files: checkpoints of any pytree, ensembles and chains in HDF5."""

from ._atomic import atomic_path as atomic_path
from ._atomic import write_text as write_text
from ._checkpoint import CheckpointError as CheckpointError
from ._checkpoint import load as load
from ._checkpoint import read_checkpoint as read_checkpoint
from ._checkpoint import read_header as read_header
from ._checkpoint import save as save
from ._checkpoint import write_checkpoint as write_checkpoint
from ._hdf5 import EnsembleFileError as EnsembleFileError
from ._hdf5 import file_kind as file_kind
from ._hdf5 import read_chain as read_chain
from ._hdf5 import read_ensemble as read_ensemble
from ._hdf5 import write_chain as write_chain
from ._hdf5 import write_ensemble as write_ensemble
from ._versions import versions as versions
