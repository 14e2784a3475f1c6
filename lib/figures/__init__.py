"""Figures: plain functions from curves to a matplotlib figure, one module a kind.

`landscape(curves)` and its like take the curves of an experiment (`lib.paper.results.load`), or records of networks of
your own by name, and return a `Drawn`. `svg` writes one for a light or a dark page, its `narrow` draws it for a phone,
`describe` puts one of the book's figures in words, and `table` in numbers; `PLANS` says which experiment, function and
page each of those has. Importing this needs no torch.
"""

from lib.figures.activations import distributions, moments
from lib.figures.controls import controls, precision
from lib.figures.landscape import edge, landscape, predictiveness, smooth_and_fast
from lib.figures.plans import PLANS, Plan, describe, draw, table
from lib.figures.settings import depths, growth, noise_strength, settings, step_sizes, widths
from lib.figures.shift import shift
from lib.figures.style import Drawn, darkened, svg
from lib.figures.theory import networks, shares, theorems
from lib.figures.training import accuracies, accuracy, envelope, losses, phases, training

__all__ = [
    "PLANS",
    "Drawn",
    "Plan",
    "accuracies",
    "accuracy",
    "controls",
    "darkened",
    "depths",
    "describe",
    "distributions",
    "draw",
    "edge",
    "envelope",
    "growth",
    "landscape",
    "losses",
    "moments",
    "networks",
    "noise_strength",
    "phases",
    "precision",
    "predictiveness",
    "settings",
    "shares",
    "shift",
    "smooth_and_fast",
    "step_sizes",
    "svg",
    "table",
    "theorems",
    "training",
    "widths",
]
