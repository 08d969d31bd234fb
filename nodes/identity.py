"""Who somebody is: encoded from photos, saved, loaded, compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from comfy_api.latest import io, ui

from ..idfsr_core.errors import ArgumentError, FileFormatError, IDFSRError
from . import bridge
from .sockets import Analyzer, IDFSRAnalyzer, IDFSRIdentity

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from ..idfsr_core.comparing import Comparison
    from ..idfsr_core.identity.embedding import IdentityEmbedding
    from ..idfsr_core.runtime import Runtime

CATEGORY = "IDFSR/identity"
MOST_INPUTS = 10
REPLACE, NUMBER = "replace", "add a number"
OTHER_ANALYZER = "connect the analyzer that encoded the identity, or encode the photos again with this one"


def photo_inputs(id: str, tooltip: str) -> io.Autogrow.Input:
    """Image inputs that appear as they are connected: photos of one size can come as a batch, others need their own."""
    names = [f"photos_{number}" for number in range(1, MOST_INPUTS + 1)]
    one = io.Image.Input("photos", tooltip=tooltip)
    return io.Autogrow.Input(id, template=io.Autogrow.TemplateNames(one, names=names, min=1), tooltip=tooltip)


def photos_of(inputs: Mapping[str, Tensor | None]) -> list[tuple[str, Tensor]]:
    """All photos of :func:`photo_inputs`, [1, 3, H, W] each, numbered from 1 through all inputs.

    Raises:
        ImageError: an input with an empty batch.
    """
    order = sorted(inputs, key=lambda name: int(name.rsplit("_", 1)[-1]))
    batches = ((name, inputs[name]) for name in order)
    pictures = [picture for name, batch in batches if batch is not None for picture in bridge.to_core(batch, name)]
    return [(f"photo {number}", picture[None]) for number, picture in enumerate(pictures, 1)]


def reported(pictures: list[tuple[str, Tensor]], runtime: Runtime) -> Iterator[tuple[str, Tensor]]:
    """The pictures, one by one, each reported when it is done."""
    for number, picture in enumerate(pictures, 1):
        yield picture
        runtime.progress(number, len(pictures))


class IDFSREncodeIdentity(io.ComfyNode):
    """Photos of a person made one vector."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSREncodeIdentity",
            display_name="Encode Identity",
            category=CATEGORY,
            description=(
                "Turns good photos of one person into an identity. The largest face of each photo counts; better "
                "photos weigh more; photos without a face and photos of somebody else are left out and named."
            ),
            search_aliases=["face embedding", "arcface", "reference photos", "identity from images", "faceid"],
            inputs=[
                IDFSRAnalyzer.Input(
                    "analyzer",
                    tooltip=(
                        "Finds the faces and measures them. Restoring and fitting need the compact analyzer of the "
                        "same model."
                    ),
                ),
                photo_inputs(
                    "references",
                    "Photos of one person, 1 or more; four or five in different poses and light are good. A batch, or "
                    "several inputs for photos of different sizes. Photos are numbered from 1 through all inputs.",
                ),
            ],
            outputs=[
                IDFSRIdentity.Output("identity", tooltip="The person, for restoring, fitting, saving and comparing."),
                io.Image.Output("similarities", tooltip="How like the photos are to each other, and what each weighs."),
                io.String.Output("report", tooltip="Weight and quality of each photo; photos left out, and why."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, analyzer: Analyzer, references: Mapping[str, Tensor]) -> io.NodeOutput:
        """Measure the photos, pool them, show how they agree."""
        from ..idfsr_core.drawing import draw_similarities
        from ..idfsr_core.references import inner_crop, prepare_references
        from ..idfsr_core.reports import report_encoding, shortened

        photos = photos_of(references)
        runtime = bridge.use(analyzer, progress_total=len(photos))
        found = prepare_references(analyzer.finder, analyzer.encoder, reported(photos, runtime), runtime.check)
        report = report_encoding(found)
        picture = bridge.to_comfy(draw_similarities(found.pooling, [inner_crop(photo) for photo in found.seen]))
        bridge.say(shortened(report))
        return io.NodeOutput(found.identity, picture, report, ui=ui.PreviewImage(picture, cls=cls))


class IDFSRSaveIdentity(io.ComfyNode):
    """An identity written to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSRSaveIdentity",
            display_name="Save Identity",
            category=CATEGORY,
            description="Writes an identity to models/idfsr/identities, where Load Identity finds it.",
            search_aliases=["save face embedding", "store person", "export identity"],
            inputs=[
                IDFSRIdentity.Input("identity", tooltip="From Encode Identity or Fit Identity."),
                io.String.Input(
                    "name",
                    default="person",
                    tooltip=(
                        "Name of the file, at most 150 bytes (150 English letters or 50 Chinese characters), without "
                        "a folder."
                    ),
                ),
                io.Combo.Input(
                    "if_exists",
                    options=[REPLACE, NUMBER],
                    default=REPLACE,
                    advanced=True,
                    tooltip=f'What to do with a file of that name: "{REPLACE}" it, or "{NUMBER}" to the new name.',
                ),
            ],
            outputs=[
                IDFSRIdentity.Output("identity", tooltip="The identity, unchanged."),
                io.String.Output("name", tooltip="The name under which Load Identity lists it."),
            ],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        """A bad name is refused before the fit whose result it would lose."""
        from ..idfsr_core.identity.naming import check_name

        try:
            return name is None or bool(check_name(name))
        except IDFSRError as error:
            return str(error)

    @classmethod
    def execute(cls, identity: IdentityEmbedding, name: str, if_exists: str = REPLACE) -> io.NodeOutput:
        """Check the name, write the file whole or not at all."""
        from ..idfsr_core.identity.naming import check_name, numbered

        name = check_name(name)
        if if_exists == NUMBER:
            name = numbered(name, set(bridge.list_identities()))
        path = bridge.identity_path(name)
        identity.save(path)
        text = f"saved as {path}"
        bridge.say(text)
        return io.NodeOutput(identity, name, ui=ui.PreviewText(text))


class IDFSRLoadIdentity(io.ComfyNode):
    """An identity read from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSRLoadIdentity",
            display_name="Load Identity",
            category=CATEGORY,
            description="Reads an identity that Save Identity wrote. A file that was changed since is read again.",
            search_aliases=["load face embedding", "open person", "import identity"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=bridge.list_identities(),
                    tooltip="One of the files in models/idfsr/identities. Press R to renew the list.",
                )
            ],
            outputs=[
                IDFSRIdentity.Output("identity", tooltip="The person, for restoring, fitting and comparing."),
                io.String.Output("report", tooltip="How it was made: kind, number of photos, encoder."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        """A missing file is named before anything runs; the list's own check would not say what to do."""
        try:
            return name is None or saved_identity(name).is_file()
        except IDFSRError as error:
            return str(error)

    @classmethod
    def fingerprint_inputs(cls, name: str | None = None) -> str:
        """Changes when the file does."""
        try:
            state = saved_identity(name or "").stat()
        except (IDFSRError, OSError) as error:
            return str(error)
        return f"{state.st_mtime_ns} {state.st_size}"

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        """Read the file and say what it holds."""
        from ..idfsr_core.identity.embedding import IdentityEmbedding
        from ..idfsr_core.reports import describe_identity

        identity = IdentityEmbedding.load(saved_identity(name))
        report = describe_identity(identity)
        bridge.say(report)
        return io.NodeOutput(identity, report, ui=ui.PreviewText(report))


class IDFSRCompareIdentity(io.ComfyNode):
    """The similarity of pictures or of an identity with a person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSRCompareIdentity",
            display_name="Compare Identity",
            category=CATEGORY,
            description=(
                "Says how like a person a face is, from -1 to 1 (the same picture). Compare figures of one analyzer "
                "only, and best with that of a second good photo: how much two photos of one person have depends on "
                "analyzer and photos. Of each picture the largest face counts."
            ),
            search_aliases=["face similarity", "identity similarity", "cosine", "same person", "verify face"],
            inputs=[
                IDFSRIdentity.Input("identity", tooltip="The person to compare with."),
                io.MultiType.Input(
                    "other",
                    types=[io.Image, IDFSRIdentity],
                    tooltip="Pictures (a batch of any length; each is compared), or another identity.",
                ),
                IDFSRAnalyzer.Input(
                    "analyzer",
                    optional=True,
                    tooltip="Needed for pictures: the analyzer that encoded the identity. Not used for identities.",
                ),
            ],
            outputs=[
                io.Float.Output(
                    "similarity", tooltip="Cosine from -1 to 1; of several pictures the mean over those with a face."
                ),
                io.String.Output("report", tooltip="The similarity of each picture; pictures without a face."),
                io.Image.Output("picture", tooltip="The same as bars, or as a curve for more than 16 pictures."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(
        cls, identity: IdentityEmbedding, other: Tensor | IdentityEmbedding, analyzer: Analyzer | None = None
    ) -> io.NodeOutput:
        """Compare, and show it."""
        from ..idfsr_core.drawing import draw_comparison
        from ..idfsr_core.reports import report_comparison, shortened

        found = compared(identity, other, analyzer)
        report = report_comparison(found)
        picture = bridge.to_comfy(draw_comparison(found.names, found.similarities, found.faces))
        bridge.say(shortened(report))
        return io.NodeOutput(found.mean, report, picture, ui=ui.PreviewImage(picture, cls=cls))


def compared(identity: IdentityEmbedding, other: Tensor | IdentityEmbedding, analyzer: Analyzer | None) -> Comparison:
    """The comparison with pictures [B, H, W, C] or with an identity.

    Raises:
        ArgumentError: pictures, and no analyzer.
        EncoderMismatchError: the identity was made by another encoder.
    """
    from ..idfsr_core.comparing import compare_identities, compare_pictures
    from ..idfsr_core.identity.embedding import IdentityEmbedding

    if isinstance(other, IdentityEmbedding):
        return compare_identities(identity, other, ("identity", "other"))
    if analyzer is None:
        raise ArgumentError("analyzer", "not connected", "connect Load Face Analyzer: it finds the faces in pictures")
    pictures = [(f"picture {n}", each[None]) for n, each in enumerate(bridge.to_core(other, "other"), 1)]
    runtime = bridge.use(analyzer, progress_total=len(pictures))
    shown = reported(pictures, runtime)
    return compare_pictures(analyzer.finder, analyzer.encoder, identity, shown, runtime.check, OTHER_ANALYZER)


def saved_identity(name: str) -> Path:
    """The file of a saved identity.

    Raises:
        ArgumentError: the name is no file name.
        FileFormatError: there is no such file.
    """
    from ..idfsr_core.identity.naming import check_name

    path = bridge.identity_path(check_name(name))
    if not path.is_file():
        value = "no such file in models/idfsr/identities"
        raise FileFormatError(f"identity {name}", value, "save it with Save Identity, or press R to renew the list")
    return path
