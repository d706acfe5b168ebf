"""OmniUp's plugin for napari: layers at low resolution, brought to the resolution of an image layer."""
