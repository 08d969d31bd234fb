"""People to try the workflows on."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..idfsr_core.options import SAMPLE_PEOPLE
from . import bridge

PORTRAIT, GROUP, FRAMES = "small portrait", "group", "frames"


class IDFSRSamplePerson(io.ComfyNode):
    """Photos of somebody who does not exist."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSRSamplePerson",
            display_name="Sample Person",
            category="IDFSR",
            description=(
                "Gives good photos and a bad picture of a person who does not exist, so that a workflow runs as it is "
                "loaded. For pictures of your own replace it by Load Image."
            ),
            search_aliases=["example images", "test photos", "demo", "load image"],
            inputs=[
                io.Combo.Input(
                    "person",
                    options=list(SAMPLE_PEOPLE),
                    default=SAMPLE_PEOPLE[0],
                    tooltip="Whose photos: anna, ben or clara. None of them exists. Replace by Load Image for yours.",
                ),
                io.Combo.Input(
                    "picture",
                    options=[PORTRAIT, GROUP, FRAMES],
                    default=PORTRAIT,
                    tooltip=(
                        "The bad picture. small portrait: 24x24 pixels, the face is 9 wide. group: all three people, "
                        "256x176 pixels, faces 16 wide. frames: 12 frames of a film over the group, 160x120 pixels."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output("references", tooltip="Five good photos of the person, 192x192 pixels."),
                io.Image.Output("picture", tooltip="The bad picture or the frames."),
                io.Image.Output("ground_truth", tooltip="The photo that the bad pictures were made from, 192x192."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, person: str, picture: str) -> io.NodeOutput:
        """Read the photos."""
        from ..idfsr_core import samples

        pictures = {PORTRAIT: samples.small_portrait, GROUP: lambda _: samples.group(), FRAMES: samples.frames}
        photos, bad, truth = samples.references(person), pictures[picture](person), samples.truth(person)
        shown = [bridge.to_comfy(each) for each in (photos, bad, truth)]
        return io.NodeOutput(*shown, ui=ui.PreviewImage(shown[1], cls=cls))
