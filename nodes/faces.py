"""Find faces, choose one of each picture, cut it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from ..idfsr_core.errors import ArgumentError, EncoderMismatchError
from ..idfsr_core.face_rule import INDEX, LARGEST, LEFT, LIKE, FaceRule
from . import bridge
from .sockets import (
    Alignments,
    DetectedFaces,
    IDFSRAlignment,
    IDFSRAnalyzer,
    IDFSRFace,
    IDFSRFaces,
    IDFSRIdentity,
    SelectedFaces,
)
from .telling import SHOWN, batch_text

if TYPE_CHECKING:
    from torch import Tensor

    from ..idfsr_core.batch_choice import Likeness
    from ..idfsr_core.faces.face import Face
    from ..idfsr_core.identity.embedding import IdentityEmbedding
    from ..idfsr_core.looking import Look
    from .sockets import Analyzer

ERROR, PASS = "error", "pass through"


class IDFSRDetectFaces(io.ComfyNode):
    """All faces of a batch of pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSRDetectFaces",
            display_name="Detect Faces",
            category="IDFSR",
            description=(
                "Finds the faces of every picture, from 3 pixels up, with their landmarks, and numbers them from left "
                "to right. Where nothing is found, say where the face is: by a box, a mask or face landmarks."
            ),
            search_aliases=["face detection", "find faces", "face detector", "landmarks", "bounding box", "bbox"],
            inputs=[
                io.Image.Input("image", tooltip="The pictures to search; each picture of a batch by itself."),
                IDFSRAnalyzer.Input(
                    "analyzer", tooltip="From Load Face Analyzer: finds the faces and their landmarks."
                ),
                # Not io.BoundingBox, whose input declares a box of 512 x 512 pixels as its default: tools that fill in
                # defaults, such as comfy-cli's conversion to API form, would send it. Without forceInput the page would
                # make a widget of it, and a box would always be given.
                io.Custom("BOUNDING_BOX").Input(
                    "bounding_box",
                    optional=True,
                    extra_dict={"forceInput": True},
                    tooltip=(
                        "Instead of searching: the face is in this box, in pixels of the picture. One box or one list "
                        "for all pictures, or a list for each. The numbers follow the order of the boxes."
                    ),
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip=(
                        "Instead of searching: every painted patch (0.5 and more, at least 4 pixels wide) holds one "
                        "face. One mask for all pictures, or one for each; another size is resized."
                    ),
                ),
                io.Custom("FACE_LANDMARKS").Input(
                    "face_landmarks",
                    optional=True,
                    tooltip=(
                        "Instead of searching: what ComfyUI's Detect Face Landmarks (MediaPipe) found in these "
                        "pictures; its mesh of 468 points is read."
                    ),
                ),
                io.Float.Input(
                    "threshold",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip=(
                        "Least confidence of a face, 0 to 1: lower it when a face is missed, raise it when something "
                        "else is taken for one. 0 is the analyzer's own value: 0.3 compact, 0.5 insightface packs."
                    ),
                ),
            ],
            outputs=[
                IDFSRFaces.Output("faces", tooltip="All faces of all pictures, for Select Face."),
                io.Image.Output("numbered", tooltip="The pictures with numbered boxes; small ones are enlarged."),
                io.Int.Output("count", tooltip="How many faces there are in all pictures together."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        analyzer: Analyzer,
        threshold: float,
        bounding_box: Any = None,
        mask: Tensor | None = None,
        face_landmarks: Any = None,
    ) -> io.NodeOutput:
        """Find, number and draw."""
        from ..idfsr_core.faces.drawing import draw_all
        from ..idfsr_core.looking import look_at_all

        images = bridge.to_core(image)
        look, how = _way(images, analyzer, threshold, bounding_box, mask, face_landmarks)
        found = look_at_all(images, look, analyzer.finder, bridge.use(analyzer, len(images)))
        numbered = bridge.to_comfy(draw_all(images, found))
        bridge.say(batch_text([_counted(len(faces)) for faces in found], f"looked for {how}"))
        faces = DetectedFaces(found, images, analyzer, how)
        return io.NodeOutput(faces, numbered, sum(map(len, found)), ui=ui.PreviewImage(numbered[:SHOWN], cls=cls))


def _counted(count: int) -> str:
    return f"{count} face" + "s" * (count != 1)


def _way(
    images: Tensor, analyzer: Analyzer, threshold: float, box: Any, mask: Tensor | None, landmarks: Any
) -> tuple[Look, str]:
    """How the faces are looked for, and that in words that follow "looked for"."""
    from ..idfsr_core.looking import already_found, fit_mask, in_boxes, in_mask, search
    from .detections import boxes_per_picture, faces_of_landmarks

    given = {"bounding_box": box, "mask": mask, "face_landmarks": landmarks}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise ArgumentError(" and ".join(names), "connected together", "connect one of them: it says where the face is")
    if box is not None:
        return in_boxes(analyzer.finder, boxes_per_picture(box, len(images)), "bounding_box"), "in the given boxes"
    if mask is not None:
        fitted, note = fit_mask(bridge.mask_to_core(mask), images)
        return in_mask(analyzer.finder, fitted), "in the given mask" + (f" ({note})" if note else "")
    if landmarks is not None:
        size = (images.shape[-1], images.shape[-2])
        return already_found(faces_of_landmarks(landmarks, len(images), size)), "in the given face landmarks"
    value = f"threshold {threshold:g}" if threshold > 0 else "its own threshold"
    return search(analyzer.finder, threshold or None), f"by {analyzer.name} at {value}"


class IDFSRSelectFace(io.ComfyNode):
    """One face of each picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSRSelectFace",
            display_name="Select Face",
            category="IDFSR",
            description=(
                "Chooses which face of each picture is meant: the largest, one counted from the left, one of the "
                "numbers that Detect Faces shows, or the one most like a person. For video, smooth follows the same "
                "face from frame to frame."
            ),
            search_aliases=["choose face", "pick face", "face index", "which person", "face tracking", "smooth video"],
            inputs=[
                IDFSRFaces.Input("faces", tooltip="All faces, from Detect Faces."),
                IDFSRIdentity.Input(
                    "identity",
                    optional=True,
                    tooltip=(
                        'The person looked for, needed by "like identity": from Encode, Fit or Load Identity, made '
                        "with the analyzer that found the faces."
                    ),
                ),
                io.Combo.Input(
                    "how",
                    options=[LARGEST, LEFT, LIKE, INDEX],
                    default=LARGEST,
                    tooltip=(
                        "largest: by the area of its box. left to right: number index from the left edge. like "
                        "identity: the one most like the connected person. index: the number in Detect Faces' picture."
                    ),
                ),
                io.Int.Input(
                    "index",
                    default=0,
                    min=-64,
                    max=64,
                    tooltip=(
                        'Which one, for "left to right" and "index": 0 is the first, 1 the second, -1 the last; -64 '
                        "to 64."
                    ),
                ),
                io.Combo.Input(
                    "if_none",
                    options=[ERROR, PASS],
                    default=ERROR,
                    tooltip=(
                        "Where a picture has no such face: stop and say which picture it is, or let the picture pass "
                        "through unchanged, as is right for video."
                    ),
                ),
                io.Float.Input(
                    "smooth",
                    default=0.0,
                    min=0.0,
                    max=30.0,
                    step=0.5,
                    advanced=True,
                    tooltip=(
                        "For video: follow the face from frame to frame and smooth its place over so many frames (0 "
                        "to 30, a standard deviation). 0.5 suits a face that moves fast, 1 to 3 one that keeps still; "
                        "more than fits blurs it. Gaps of up to 3 frames are filled. 0 takes each picture by itself."
                    ),
                ),
                io.Float.Input(
                    "least_similarity",
                    default=-1.0,
                    min=-1.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip=(
                        'For "like identity": a face less similar than this is not the person (cosine, -1 to 1). Other '
                        "people can reach 0.6 with the compact analyzer: look at `why` before you set it. -1 takes the "
                        "likest, whoever it is."
                    ),
                ),
            ],
            outputs=[
                IDFSRFace.Output("face", tooltip="One face of each picture, for Crop Face, Mask Face, Warp Reference."),
                io.String.Output("why", tooltip="For each picture, which face was taken and why."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(
        cls,
        faces: DetectedFaces,
        how: str,
        index: int,
        if_none: str,
        smooth: float,
        least_similarity: float,
        identity: IdentityEmbedding | None = None,
    ) -> io.NodeOutput:
        """Choose, and say why."""
        from ..idfsr_core.batch_choice import choose_faces

        rule = FaceRule(how=how, index=index, least=least_similarity, required=if_none == ERROR, smooth=smooth)
        like = _likeness(faces, identity) if how == LIKE and identity is not None else None
        chosen = choose_faces(faces.faces, rule, like, faces.found_by)
        why = batch_text(chosen.reasons)
        bridge.say(why)
        return io.NodeOutput(
            SelectedFaces(chosen.faces, chosen.reasons, faces.analyzer.size), why, ui=ui.PreviewText(why)
        )


def _likeness(faces: DetectedFaces, identity: IdentityEmbedding) -> Likeness:
    """How much a face looks like the identity, by the encoder that goes with the faces."""
    from ..idfsr_core.references import resemblance

    encoder = faces.analyzer.encoder
    try:
        identity.check_encoder(encoder)
    except EncoderMismatchError as error:
        remedy = "encode the identity with the analyzer that found the faces, or find them with the identity's"
        raise EncoderMismatchError("identity", error.value, remedy) from error
    runtime = bridge.use(faces.analyzer, len(faces.faces))

    def like(number: int, face: Face) -> float:
        runtime.check()
        runtime.progress(number + 1, len(faces.faces))
        return resemblance(encoder, faces.images[number : number + 1], face.keypoints, identity)

    return like


class IDFSRCropFace(io.ComfyNode):
    """The face in its own pixels, enlarged to the size at which the model works."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSRCropFace",
            display_name="Crop Face",
            category="IDFSR",
            description=(
                "Cuts the selected face out of each picture, upright, and enlarges it to 128 pixels by bicubic "
                "interpolation: nothing is in it but the pixels that the picture has. Paste Face is the way back."
            ),
            search_aliases=["align face", "face crop", "FFHQ crop", "extract face", "crop and stitch"],
            inputs=[
                io.Image.Input("image", tooltip="The pictures in which the faces were found."),
                IDFSRFace.Input("face", tooltip="One face of each picture, from Select Face."),
                io.Float.Input(
                    "scale",
                    default=0.0,
                    min=0.0,
                    max=64.0,
                    step=0.5,
                    advanced=True,
                    tooltip=(
                        "Crop pixels per real pixel, 1 to 64: set it when the picture was enlarged before and is "
                        "really coarser than it looks. 0 takes it from the face's size."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output("crop", tooltip="128x128 pixels a face; grey where a picture has none."),
                IDFSRAlignment.Output("alignment", tooltip="Where the crops lie, for masking, restoring and pasting."),
                io.Float.Output(
                    "scale",
                    tooltip="Crop pixels per real pixel, mean over the faces: 16 means that the face is 8 pixels wide.",
                ),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, image: Tensor, face: SelectedFaces, scale: float) -> io.NodeOutput:
        """Cut out."""
        from ..idfsr_core.frames import crop_faces

        crops = crop_faces(bridge.to_core(image), face.faces, scale or None, face.size)
        shown = bridge.to_comfy(crops.images)
        alignment = Alignments(crops.alignments, crops.scales)
        return io.NodeOutput(shown, alignment, crops.mean_scale, ui=ui.PreviewImage(shown[:SHOWN], cls=cls))
