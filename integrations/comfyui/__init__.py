"""OmniUp's nodes for ComfyUI, which takes them from a folder in `custom_nodes`; docs/tools.md says how."""

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
