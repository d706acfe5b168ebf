"""Read and write images, signals, label maps and named tensors.

Everything read here is taken for hostile until it has been checked: declared sizes are bounded before anything is
allocated, nothing is ever unpickled, and whatever cannot be accepted ends in one `InputError` line that names the
file. Everything written to a path is written atomically.
"""

from omniup.files.atomic import atomic_write, sweep, together
from omniup.files.decoding import MAX_PIXELS
from omniup.files.guidance import read_guidance
from omniup.files.images import find_images, image_tensor, read_alpha, read_image, write_image
from omniup.files.orientation import read_orientation
from omniup.files.outputs import Inputs, OutputFolder, check_output, locked, output_folder
from omniup.files.samples import (
    SAMPLE,
    SAMPLES,
    SampleProbabilities,
    read_photograph,
    sample_image,
    sample_probabilities,
)
from omniup.files.signals import read_labels, read_signal, write_signal
from omniup.files.sources import MAX_BYTES, Source
from omniup.files.stored import Form, Stored, read_nodata, read_stored
from omniup.files.tensors import read_tensors, write_tensors

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "SAMPLE",
    "SAMPLES",
    "Form",
    "Inputs",
    "OutputFolder",
    "SampleProbabilities",
    "Source",
    "Stored",
    "atomic_write",
    "check_output",
    "find_images",
    "image_tensor",
    "locked",
    "output_folder",
    "read_alpha",
    "read_guidance",
    "read_image",
    "read_labels",
    "read_nodata",
    "read_orientation",
    "read_photograph",
    "read_signal",
    "read_stored",
    "read_tensors",
    "sample_image",
    "sample_probabilities",
    "sweep",
    "together",
    "write_image",
    "write_signal",
    "write_tensors",
]
