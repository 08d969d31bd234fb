"""The nodes, in the order in which the menu shows them."""

from __future__ import annotations

import importlib
import logging

from comfy_api.latest import ComfyExtension, io

_NODES = (
    ("models", "LoadModel"),
    ("models", "LoadFaceAnalyzer"),
    ("faces", "DetectFaces"),
    ("faces", "SelectFace"),
    ("faces", "CropFace"),
    ("masking", "MaskFace"),
    ("warping", "WarpReference"),
    ("identity", "EncodeIdentity"),
    ("fitting", "FitIdentity"),
    ("identity", "SaveIdentity"),
    ("identity", "LoadIdentity"),
    ("restoration", "RestoreFace"),
    ("restoration", "PasteFace"),
    ("identity", "CompareIdentity"),
    ("evaluation", "DegradeFace"),
    ("evaluation", "Evaluate"),
    ("samples", "SamplePerson"),
)


class IDFSRExtension(ComfyExtension):
    """What ComfyUI asks for the nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes of the pack."""
        found = []
        for module, name in _NODES:
            try:
                found.append(getattr(importlib.import_module(f".{module}", __name__), f"IDFSR{name}"))
            except (ImportError, AttributeError, SyntaxError):
                logging.getLogger("idfsr").warning("%s is not there yet", name)
        return found
