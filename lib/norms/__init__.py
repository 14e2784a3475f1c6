"""Normalization layers: BatchNorm, its noisy variant (Algorithm 1) and l_p norms (section 3.3)."""

from lib.norms.layers import EPS, MOMENTUM, ActivationNoise, BatchNorm, LpNorm, NoisyBatchNorm, make_norm

__all__ = ["EPS", "MOMENTUM", "ActivationNoise", "BatchNorm", "LpNorm", "NoisyBatchNorm", "make_norm"]
