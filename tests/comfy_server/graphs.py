"""Prompts in API form, written as a graph is thought of: each node takes what the ones before it give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .client import Prompt

Link = list[Any]


@dataclass(frozen=True)
class Node:
    """A node of a :class:`Graph`; ``node[0]`` is its first output."""

    id: str

    def __getitem__(self, output: int) -> Link:
        return [self.id, output]


class Graph:
    """Collects the nodes of a prompt."""

    def __init__(self) -> None:
        self.prompt: Prompt = {}

    def add(self, kind: str, **inputs: object) -> Node:
        """A node whose inputs are values and outputs of others; references__photos_1 is "references.photos_1"."""
        node = Node(str(len(self.prompt) + 1))
        named = {name.replace("__", "."): value for name, value in inputs.items() if value is not None}
        self.prompt[node.id] = {"class_type": kind, "inputs": named}
        return node

    def change(self, node: Node, **inputs: object) -> None:
        """Set inputs of a node anew."""
        self.prompt[node.id]["inputs"].update(inputs)


@dataclass(frozen=True, kw_only=True)
class Restoring:
    """The chain from a sample person to a restored picture, and its nodes by what they do."""

    graph: Graph
    model: Node
    analyzer: Node
    person: Node
    degrade: Node
    identity: Node
    detect: Node
    select: Node
    crop: Node
    mask: Node
    warp: Node
    restore: Node
    paste: Node
    show: Node

    @property
    def prompt(self) -> Prompt:
        """For the server."""
        return self.graph.prompt


def restoring(person: str = "anna", model: str = "shipped", scale: float = 8) -> Restoring:
    """One small face, its person's photos, and every step between them, with all other settings at their defaults."""
    graph = Graph()
    add = graph.add
    bundle = add("IDFSRLoadModel", model=model)
    analyzer = add("IDFSRLoadFaceAnalyzer", model=bundle[0], analyzer="compact")
    sample = add("IDFSRSamplePerson", person=person, picture="small portrait")
    bad = add("IDFSRDegradeFace", image=sample[2], scale=scale, blur=0, noise=0, jpeg=100, seed=0, keep_size=False)
    identity = add("IDFSREncodeIdentity", analyzer=analyzer[0], references__photos_1=sample[0])
    found = add("IDFSRDetectFaces", image=bad[0], analyzer=analyzer[0], threshold=0)
    face = add(
        "IDFSRSelectFace", faces=found[0], how="largest", index=0, if_none="error", smooth=0, least_similarity=-1
    )
    crop = add("IDFSRCropFace", image=bad[0], face=face[0], scale=0)
    mask = add(
        "IDFSRMaskFace",
        crop=crop[0],
        alignment=crop[1],
        face=face[0],
        mode="auto",
        grow=0.08,
        feather=0.08,
        forehead=0.35,
    )
    warp = add(
        "IDFSRWarpReference",
        references=sample[0],
        face=face[0],
        analyzer=analyzer[0],
        method="similarity",
        choose="best",
        index=0,
        count=1,
        refine=False,
    )
    restored = add(
        "IDFSRRestoreFace",
        model=bundle[0],
        crop=crop[0],
        alignment=crop[1],
        mask=mask[1],
        identity=identity[0],
        warped=warp[0],
        coverage=warp[1],
        steps=1,
        seed=0,
        style_guidance=1,
        identity_guidance=1,
        consistency=0.2,
        scheduler="euler",
        steering=7,
    )
    pasted = add(
        "IDFSRPasteFace",
        image=bad[0],
        crop=restored[0],
        alignment=crop[1],
        mask=mask[1],
        colour_match="none",
        enlarge=0,
        feather=0.08,
    )
    shown = add("PreviewImage", images=pasted[0])
    return Restoring(
        graph=graph,
        model=bundle,
        analyzer=analyzer,
        person=sample,
        degrade=bad,
        identity=identity,
        detect=found,
        select=face,
        crop=crop,
        mask=mask,
        warp=warp,
        restore=restored,
        paste=pasted,
        show=shown,
    )
