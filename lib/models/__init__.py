"""The networks of appendix A.1: a VGG, a deep linear network, and a residual network beside them."""

from lib.models.images import resnet, vgg
from lib.models.linear import FixedScale, deep_linear, glorot_weights, weights

__all__ = ["FixedScale", "deep_linear", "glorot_weights", "resnet", "vgg", "weights"]
