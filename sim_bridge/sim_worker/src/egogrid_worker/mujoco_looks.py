"""The same world in other light and other colours, for evaluations in a simulator that has a MuJoCo model. Needs `mujoco`.

From: a compiled model, before anything renders it. To: the same model, changed in place; nothing that moves or collides is touched.
"""

from collections.abc import Callable

import numpy as np

import mujoco

TINT_LOW, TINT_HIGH = 0.5, 1.5


def relight(model: mujoco.MjModel, factor: float) -> None:
    """All lights brighter or darker by `factor`."""
    headlight = model.vis.headlight
    for colours in (model.light_ambient, model.light_diffuse, model.light_specular, headlight.ambient, headlight.diffuse, headlight.specular):
        colours[:] = np.asarray(colours) * factor


def recolour(model: mujoco.MjModel, seed: int, is_robot: Callable[[mujoco.MjModel, int], bool]) -> None:
    """Each material and each plain geom of the world is tinted; the same seed gives the same colours.

    `is_robot` says of a geom that it belongs to the arm, which keeps its colours.
    """
    random = np.random.default_rng(seed)
    tints = random.uniform(TINT_LOW, TINT_HIGH, (model.nmat + model.ngeom, 3))
    worn = {int(model.geom_matid[geom]) for geom in range(model.ngeom) if is_robot(model, geom)}
    for material in set(range(model.nmat)) - worn:
        model.mat_rgba[material, :3] = np.clip(model.mat_rgba[material, :3] * tints[material], 0, 1)
    for geom in range(model.ngeom):
        if model.geom_matid[geom] < 0 and not is_robot(model, geom):
            model.geom_rgba[geom, :3] = np.clip(model.geom_rgba[geom, :3] * tints[model.nmat + geom], 0, 1)
