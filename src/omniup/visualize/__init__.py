"""Draw tensors: feature maps, errors, sets of kernels, optimisations.

Tensors go in, PIL pictures (or tensors to draw on) come out; nothing is kept between calls, and threads may draw at
once. Importing this loads matplotlib, which `import omniup` does not.
"""

from omniup.visualize.clusters import Clusters, segment
from omniup.visualize.colours import heat_map, limits_of, to_picture
from omniup.visualize.curves import loss_curve
from omniup.visualize.maps import error_map, parameter_panels
from omniup.visualize.panels import Panel, sheet
from omniup.visualize.pca import PcaColours, pca_rgb
from omniup.visualize.segments import class_colours, label_picture, outlined
from omniup.visualize.similarity import lengths, mixed_similarity, similarity_map

__all__ = [
    "Clusters",
    "Panel",
    "PcaColours",
    "class_colours",
    "error_map",
    "heat_map",
    "label_picture",
    "lengths",
    "limits_of",
    "loss_curve",
    "mixed_similarity",
    "outlined",
    "parameter_panels",
    "pca_rgb",
    "segment",
    "sheet",
    "similarity_map",
    "to_picture",
]
