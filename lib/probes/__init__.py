"""Probes: measurements at one point of training that leave the network as they found it.

Each says what it costs. A gradient is a forward and a backward pass on the batch, as a training step makes them.
"""

from lib.probes.activations import Activations
from lib.probes.covariate import covariate_shift, layers_of
from lib.probes.loss_landscape import landscape
from lib.probes.measuring import measure
from lib.probes.point import Loss, Point, State, along, gradients, held, norm, trained
from lib.probes.probe import Probe
from lib.probes.recorder import Recorder
from lib.quantities import effective_smoothness

__all__ = [
    "Activations",
    "Loss",
    "Point",
    "Probe",
    "Recorder",
    "State",
    "along",
    "covariate_shift",
    "effective_smoothness",
    "gradients",
    "held",
    "landscape",
    "layers_of",
    "measure",
    "norm",
    "trained",
]
