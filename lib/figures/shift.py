"""Internal covariate shift."""

from __future__ import annotations

from collections.abc import Iterable

from lib.figures import style
from lib.figures.activations import layers_of
from lib.figures.style import Curves, Drawn, Panel, Series
from lib.paper.labels import Label


@style.of_curves
def shift(
    curves: Curves, layers: Iterable[int] | int = 4, setting: float | None = None, columns: int | None = None
) -> Drawn:
    """Internal covariate shift of Definition 2.1 for some layers, or for that many (Figure 3).

    A `setting` leaves only the curves that have it.
    """
    curves = style.curves_of(curves)
    if setting is not None:
        curves = {Label(label.norm): curve for label, curve in curves.items() if label.setting == setting}
        if not curves:  # none at this setting has been measured yet
            return style.Drawn()
    layers = layers_of(curves, "layer", layers) if isinstance(layers, int) else list(layers)
    kinds = (
        ("shift_l2", "$\\|G-G'\\|_2$", "distance of G and G'", True, None),
        ("shift_cosine", "$\\cos(G, G')$", "cosine of G and G'", False, (-1.05, 1.05)),
    )
    panels = []
    for name, formula, what, log, limits in kinds:
        for layer in layers:
            series = [
                Series(label, curve.shift_step.values, style.rows_of(curve[name].isel(layer=layer)))
                for label, curve in curves.items()
            ]
            title = f"layer {layer + 1}"
            panels.append(
                Panel(title, "step", formula, what, series, log=log, limits=limits, share=name, where=f"in {title}")
            )
    return style.draw(panels, columns or len(layers), height=2.0, legend_columns=2)
