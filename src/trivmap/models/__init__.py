from ._model import Model as Model
