from ._conditional import ConditionalModel as ConditionalModel
from ._model import Model as Model
from ._model import transport_of as transport_of
from ._pretrained import load_pretrained as load_pretrained
from ._pretrained import pretrained_models as pretrained_models
from ._symmetrised import SymmetrisedModel as SymmetrisedModel
