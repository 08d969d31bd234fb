"""The nodes, in the order in which they follow each other in a graph."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .evaluation import IDFSRDegradeFace, IDFSREvaluate
from .faces import IDFSRCropFace, IDFSRDetectFaces, IDFSRSelectFace
from .fitting import IDFSRFitIdentity
from .identity import IDFSRCompareIdentity, IDFSREncodeIdentity, IDFSRLoadIdentity, IDFSRSaveIdentity
from .masking import IDFSRMaskFace
from .models import IDFSRLoadFaceAnalyzer, IDFSRLoadModel
from .restoration import IDFSRPasteFace, IDFSRRestoreFace
from .samples import IDFSRSamplePerson
from .warping import IDFSRWarpReference


class IDFSRExtension(ComfyExtension):
    """What ComfyUI asks for the nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes of the pack."""
        return [
            IDFSRLoadModel,
            IDFSRLoadFaceAnalyzer,
            IDFSRDetectFaces,
            IDFSRSelectFace,
            IDFSRCropFace,
            IDFSRMaskFace,
            IDFSRWarpReference,
            IDFSREncodeIdentity,
            IDFSRFitIdentity,
            IDFSRSaveIdentity,
            IDFSRLoadIdentity,
            IDFSRRestoreFace,
            IDFSRPasteFace,
            IDFSRCompareIdentity,
            IDFSRDegradeFace,
            IDFSREvaluate,
            IDFSRSamplePerson,
        ]
