from ._base import AbstractPotential as AbstractPotential
from ._base import AbstractVectorField as AbstractVectorField
from ._convolution import ConvolutionField as ConvolutionField
from ._gated_convolution import GatedConvolutionField as GatedConvolutionField
from ._gradient import GradientField as GradientField
from ._loop_potential import LoopPotential as LoopPotential
