"""What the core gives for a prompt: its nodes by name, computed through the core's own functions for whole pictures.

The restoration itself comes from :func:`idfsr_core.restoration.restore_image`, which knows nothing of the steps that
the nodes make of it; the two ways must meet.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from idfsr_core import samples
from idfsr_core.batch_choice import choose_faces
from idfsr_core.bundle import Bundle
from idfsr_core.damage import Damage
from idfsr_core.degrading import spoil
from idfsr_core.face_rule import FaceRule
from idfsr_core.faces.face import Face
from idfsr_core.fitting import FittingSettings, fit_identity
from idfsr_core.frames import CROP
from idfsr_core.geometry import Alignment
from idfsr_core.identity.embedding import IdentityEmbedding
from idfsr_core.images import up
from idfsr_core.looking import look_at_all, search
from idfsr_core.options import RestoreOptions
from idfsr_core.pasting import PasteLook, paste_faces, pasted_size
from idfsr_core.references import PreparedReferences, prepare_references, resemblance
from idfsr_core.restoration import restore_image
from idfsr_core.steps import align, low_resolution_face, lr_size, make_mask

from .client import Prompt

PICTURES = {"small portrait": samples.small_portrait, "group": lambda _: samples.group(), "frames": samples.frames}
MASK = ("mode", "grow", "feather", "forehead")


class UnknownNodeError(Exception):
    """The picture comes from a node that the core knows nothing of."""


class OneFace:
    """An analyzer that knows one face already; also in the same picture at another size."""

    name = "one face"

    def __init__(self, face: Face) -> None:
        self.face = face

    def analyze(self, image: Tensor, threshold: float | None = None) -> list[Face]:
        """The face."""
        size = (image.shape[-1], image.shape[-2])
        grown = size[0] / self.face.image_size[0]
        assert self.face.landmarks is not None
        box, keypoints, landmarks = (
            (np.asarray(points) + 0.5) * grown - 0.5
            for points in (self.face.box, self.face.keypoints, self.face.landmarks)
        )
        return [replace(self.face, box=box, keypoints=keypoints, landmarks=landmarks, image_size=size)]

    def landmarks(self, image: Tensor, rough: np.ndarray) -> np.ndarray:
        """Never asked for: the face has its own."""
        raise NotImplementedError


class Core:
    """A bundle, and what was already worked out with it: several prompts have the same people."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._prepared: dict[bytes, PreparedReferences] = {}

    def prepare(self, pictures: Tensor) -> PreparedReferences:
        """Photos [B, 3, H, W] of one person."""
        key = hashlib.sha256(pictures.contiguous().numpy().tobytes()).digest()
        if key not in self._prepared:
            named = ((f"photo {index}", picture) for index, picture in enumerate(pictures.split(1)))
            self._prepared[key] = prepare_references(self.bundle.analyzer, self.bundle.encoder, named)
        return self._prepared[key]


class Expected:
    """Pictures of a prompt by the core.

    Args:
        prompt: in API form.
        core: the shipped bundle.
    """

    def __init__(self, prompt: Prompt, core: Core) -> None:
        self.prompt, self.core, self.bundle = prompt, core, core.bundle
        self._values: dict[tuple[str, int], Any] = {}

    def image(self, link: list[Any]) -> Tensor:
        """An IMAGE output as [B, 3, H, W].

        Raises:
            UnknownNodeError: the node, or one before it, is none of ours.
        """
        return self._value(link)

    def _value(self, link: list[Any]) -> Any:
        key = (str(link[0]), int(link[1]))
        if key not in self._values:
            node = self.prompt[key[0]]
            make = getattr(self, f"_{node['class_type'].removeprefix('IDFSR')}", None)
            if make is None:
                raise UnknownNodeError(node["class_type"])
            for output, value in enumerate(make(node["inputs"])):
                self._values[key[0], output] = value
        if self._values[key] is None:
            raise UnknownNodeError(f"output {key[1]} of {self.prompt[key[0]]['class_type']}")
        return self._values[key]

    # --- nodes: each takes the inputs of the prompt and gives its outputs, as far as they are needed ------------------

    def _SamplePerson(self, inputs: dict[str, Any]) -> tuple[Tensor, ...]:
        person = inputs["person"]
        return samples.references(person), PICTURES[inputs["picture"]](person), samples.truth(person)

    def _DegradeFace(self, inputs: dict[str, Any]) -> tuple[Tensor]:
        damage = Damage(**{name: inputs[name] for name in ("scale", "blur", "noise", "jpeg", "seed")})
        return (spoil(self._value(inputs["image"]), damage, keep_size=inputs["keep_size"]),)

    def _DetectFaces(self, inputs: dict[str, Any]) -> tuple[tuple[tuple[Face, ...], ...], None]:
        if {"bounding_box", "mask", "face_landmarks"} & set(inputs):
            raise UnknownNodeError("Detect Faces without a search")
        analyzer = self.bundle.analyzer
        return look_at_all(self._value(inputs["image"]), search(analyzer, inputs["threshold"] or None), analyzer), None

    def _SelectFace(self, inputs: dict[str, Any]) -> tuple[tuple[Face | None, ...]]:
        rule = FaceRule(
            how=inputs["how"],
            index=inputs["index"],
            least=inputs["least_similarity"],
            required=inputs["if_none"] == "error",
            smooth=inputs["smooth"],
        )
        images = self._value(self.prompt[inputs["faces"][0]]["inputs"]["image"])

        def like(number: int, face: Face) -> float:
            identity = self._value(inputs["identity"])
            return resemblance(self.bundle.encoder, images[number : number + 1], face.keypoints, identity)

        return (choose_faces(self._value(inputs["faces"]), rule, like if "identity" in inputs else None).faces,)

    def _CropFace(self, inputs: dict[str, Any]) -> tuple[Tensor | None, tuple[Alignment | None, ...]]:
        faces, scale = self._value(inputs["face"]), inputs["scale"] or None
        places = tuple(face and align(face) for face in faces)
        if None in places:
            return None, places
        images = self._value(inputs["image"]).split(1)
        small = (low_resolution_face(image, place, scale) for image, place in zip(images, places, strict=True))
        return torch.cat([up(lr, CROP).clamp(0, 1) for lr in small]), places

    def _MaskFace(self, inputs: dict[str, Any]) -> tuple[None, Tensor]:
        if "mask" in inputs:
            raise UnknownNodeError("Mask Face with a mask")
        crop = self.prompt[inputs["crop"][0]]["inputs"]
        options = RestoreOptions(**{f"mask_{name}": inputs[name] for name in MASK})
        masks = []
        for face, place in zip(self._value(inputs["face"]), self._value(inputs["alignment"]), strict=True):
            if face is None:
                raise UnknownNodeError("a picture without a face")
            points = torch.as_tensor(place.to_crop(face.landmarks), dtype=torch.float32)[None]
            masks.append(make_mask(points, place.size / lr_size(place, crop["scale"] or None), options, place.size))
        return None, torch.cat(masks)

    def _EncodeIdentity(self, inputs: dict[str, Any]) -> tuple[IdentityEmbedding]:
        return (self._prepared(inputs, "references").identity,)

    def _FitIdentity(self, inputs: dict[str, Any]) -> tuple[IdentityEmbedding]:
        photos, start = self._prepared(inputs, "photos").photos, self._value(inputs["identity"])
        settings = FittingSettings(**{name: inputs[name] for name in ("steps", "seed", "learning_rate")})
        return (fit_identity(self.bundle.denoiser, self.bundle.encoder, start, photos, settings).identity,)

    def _SaveIdentity(self, inputs: dict[str, Any]) -> tuple[IdentityEmbedding]:
        return (self._value(inputs["identity"]),)

    def _RestoreFace(self, inputs: dict[str, Any]) -> tuple[Tensor]:
        crop = self.prompt[inputs["crop"][0]]["inputs"]
        pictures, faces = self._value(crop["image"]), self._value(crop["face"])
        options, references = self._options(inputs), self._references(inputs)
        identity, restored = self._value(inputs["identity"]), []
        for picture, face in zip(pictures.split(1), faces, strict=True):
            if face is None:
                raise UnknownNodeError("a picture without a face")
            restored.append(
                restore_image(self.bundle, picture, references, options, identity, analyzer=OneFace(face)).crop
            )
        return (torch.cat(restored),)

    def _PasteFace(self, inputs: dict[str, Any]) -> tuple[Tensor]:
        masks, faces = (self._value(inputs[name]) if name in inputs else None for name in ("mask", "face_mask"))
        images, crops = self._value(inputs["image"]), self._value(inputs["crop"])
        places = self._value(inputs["alignment"])
        size = pasted_size(places, (images.shape[-1], images.shape[-2]), crops.shape[-1], inputs["enlarge"] or None)
        look = PasteLook(feather=inputs["feather"], colour=inputs["colour_match"])
        told = self.prompt[inputs["alignment"][0]]["inputs"]["scale"] or None
        scales = [1.0 if place is None else place.size / lr_size(place, told) for place in places]
        pairs = paste_faces(images, crops, places, size, look, masks, scales, faces=faces)
        return (torch.cat([image for image, _ in pairs]),)

    def _ImageUpscaleWithModel(self, inputs: dict[str, Any]) -> tuple[Tensor]:
        """What the upscaler of :mod:`tests.comfy_server.checkpoints` does."""
        return (torch.nn.functional.interpolate(self._value(inputs["image"]), scale_factor=4, mode="nearest"),)

    def _ImageBlend(self, inputs: dict[str, Any]) -> tuple[Tensor]:
        first, second = self._value(inputs["image1"]), self._value(inputs["image2"])
        if inputs["blend_mode"] != "normal" or first.shape != second.shape:
            raise UnknownNodeError("this blend")
        return (torch.lerp(first, second, inputs["blend_factor"]),)

    def _BatchImagesNode(self, inputs: dict[str, Any]) -> tuple[Tensor]:
        images = [self._value(link) for name, link in inputs.items() if name.startswith("images.")]
        if len({image.shape[1:] for image in images}) > 1:
            raise UnknownNodeError("a batch of several sizes")
        return (torch.cat(images),)

    def _ImageStitch(self, inputs: dict[str, Any]) -> tuple[Tensor]:
        """The lower right part alone: the other is resized by a filter of ComfyUI's own."""
        if inputs["direction"] not in ("left", "up"):
            raise UnknownNodeError("this stitch")
        return (self._value(inputs["image1"]),)

    # --- helpers ------------------------------------------------------------------------------------------------------

    def _prepared(self, inputs: dict[str, Any], prefix: str) -> PreparedReferences:
        links = [link for name, link in sorted(inputs.items()) if name.startswith(f"{prefix}.")]
        return self.core.prepare(torch.cat([self._value(link) for link in links]))

    def _references(self, inputs: dict[str, Any]) -> PreparedReferences | None:
        if "warped" not in inputs:
            return None
        warp = self.prompt[inputs["warped"][0]]["inputs"]
        pictures = self._value(warp["references"])
        return self.core.prepare(pictures if warp["choose"] == "best" else pictures[warp["index"]][None])

    def _options(self, inputs: dict[str, Any]) -> RestoreOptions:
        """Of one Restore Face and the nodes before it."""
        mask, crop = self.prompt[inputs["mask"][0]]["inputs"], self.prompt[inputs["crop"][0]]["inputs"]
        if "mask" in mask:
            raise UnknownNodeError("Mask Face with a mask")
        warp = self.prompt[inputs["warped"][0]]["inputs"] if "warped" in inputs else {}
        names = ("steps", "seed", "style_guidance", "identity_guidance", "consistency", "scheduler", "steering")
        usual = RestoreOptions()
        return RestoreOptions(
            **{name: inputs[name] for name in names},
            **{f"mask_{name}": mask[name] for name in MASK},
            scale=crop["scale"] or None,
            warp_method=warp.get("method", usual.warp_method),
            reference_warp=warp.get("method", usual.reference_warp),
            max_references=warp.get("count", 1),
            refine=warp.get("refine", False),
            face="largest",
        )
