"""IDFSR for ComfyUI: restores the face of a known person. ComfyUI imports this folder and asks for its nodes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .nodes import IDFSRExtension

WEB_DIRECTORY = "./nodes/web"


async def comfy_entrypoint() -> IDFSRExtension:
    """The nodes, for ComfyUI.

    ComfyUI shows an error here as one line without its place, so the traceback is logged first.
    """
    try:
        from .nodes import IDFSRExtension

        extension = IDFSRExtension()
        for node in await extension.get_node_list():
            node.GET_SCHEMA()
    except Exception:
        logging.getLogger("idfsr").exception("The IDFSR nodes could not be loaded:")
        raise
    return extension
