"""Refine results of AnyUp, or of any method, by diffusion: samples around a result, their mean and their spread.

`refiner.py` has the interface, `components.py` the basis of the residuals, `denoiser.py` the network and what it is
conditioned on, and `sampling.py` the solver.
"""

from omniup.upsamplers.anyup.refinement.refiner import MOST_STEPS, Refined, Refiner

__all__ = ["MOST_STEPS", "Refined", "Refiner"]
