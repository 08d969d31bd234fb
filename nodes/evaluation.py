"""Spoil a good picture, and measure how well it came back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io, ui

from ..idfsr_core.damage import Damage
from . import bridge
from .sockets import Analyzer, IDFSRAnalyzer
from .telling import LARGEST_SEED, SHOWN

if TYPE_CHECKING:
    from torch import Tensor

_USUAL = Damage()


class IDFSRDegradeFace(io.ComfyNode):
    """A good picture made bad, so that the truth is known."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSRDegradeFace",
            display_name="Degrade Face",
            category="IDFSR",
            description=(
                "Makes a picture small and bad in a known way: blur, area average, noise, JPEG, in this order. Try a "
                "workflow on a good photo you have, and compare the result with it."
            ),
            search_aliases=["downscale", "low resolution", "blur noise jpeg", "degradation", "make it bad"],
            inputs=[
                io.Image.Input("image", tooltip="The good pictures, of any size."),
                io.Float.Input(
                    "scale",
                    default=_USUAL.scale,
                    min=1.0,
                    max=64.0,
                    step=0.5,
                    tooltip="How many times smaller each side becomes, 1 to 64, at most the picture's shorter side.",
                ),
                io.Float.Input(
                    "blur",
                    default=_USUAL.blur,
                    min=0.0,
                    max=4.0,
                    step=0.05,
                    tooltip="Gaussian blur: its standard deviation in pixels of the small picture, 0 (none) to 4.",
                ),
                io.Float.Input(
                    "noise",
                    default=_USUAL.noise,
                    min=0.0,
                    max=64.0,
                    step=0.5,
                    tooltip="Noise: its standard deviation in levels of 255, 0 (none) to 64.",
                ),
                io.Int.Input(
                    "jpeg",
                    default=_USUAL.jpeg,
                    min=1,
                    max=100,
                    tooltip="JPEG quality of the small picture, 1 (worst) to 99; 100 leaves JPEG out.",
                ),
                io.Int.Input(
                    "seed",
                    default=_USUAL.seed,
                    min=0,
                    max=LARGEST_SEED,
                    control_after_generate=True,
                    tooltip="Seed of the noise, 0 to 9007199254740991; an equal seed gives equal noise.",
                ),
                io.Boolean.Input(
                    "keep_size",
                    default=False,
                    tooltip=("Enlarge the result back to the picture's size, bicubic. Then tell Crop Face the scale."),
                ),
            ],
            outputs=[io.Image.Output("degraded", tooltip="The bad pictures: small, or as large as before if kept.")],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(
        cls, image: Tensor, scale: float, blur: float, noise: float, jpeg: int, seed: int, keep_size: bool
    ) -> io.NodeOutput:
        """Spoil picture after picture."""
        from ..idfsr_core.degrading import spoil

        damage = Damage(scale=scale, blur=blur, noise=noise, jpeg=jpeg, seed=seed)
        bad = spoil(bridge.to_core(image), damage, keep_size=keep_size, check=bridge.use(None).check)
        shown = bridge.to_comfy(bad)
        return io.NodeOutput(shown, ui=ui.PreviewImage(shown[:SHOWN], cls=cls))


class IDFSREvaluate(io.ComfyNode):
    """Figures, and pictures side by side."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IDFSREvaluate",
            display_name="Evaluate Restoration",
            category="IDFSR",
            description=(
                "Compares results with the truth: PSNR, SSIM (where torchmetrics is installed), agreement with the "
                "small picture (LR-PSNR), identity similarity, landmark error, and a sheet to look at."
            ),
            search_aliases=["PSNR", "SSIM", "metrics", "compare images", "quality", "identity similarity", "benchmark"],
            inputs=[
                io.Image.Input("result", tooltip="The restored pictures or crops."),
                io.Image.Input(
                    "ground_truth",
                    tooltip="What they should show, the same field: one for all or one for each; resized if needed.",
                ),
                io.Image.Input(
                    "lr",
                    optional=True,
                    tooltip="The small pictures that the results were made from, not enlarged: one, or one for each.",
                ),
                IDFSRAnalyzer.Input(
                    "analyzer",
                    optional=True,
                    tooltip="Measures the largest face of the truth: identity similarity and landmark error.",
                ),
            ],
            outputs=[
                io.String.Output("report", tooltip="The figures: the mean, and the range where there are several."),
                io.Image.Output("sheet", tooltip="Result, truth, small picture and difference; eight rows at most."),
                io.Float.Output(
                    "identity_similarity",
                    tooltip="Cosine of result and truth, -1 to 1, mean over the pictures; 0 without an analyzer.",
                ),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(
        cls, result: Tensor, ground_truth: Tensor, lr: Tensor | None = None, analyzer: Analyzer | None = None
    ) -> io.NodeOutput:
        """Measure and draw."""
        from ..idfsr_core.evaluation.pair import compare_pictures
        from ..idfsr_core.evaluation.pair_sheet import draw_pairs

        results, truth = bridge.to_core(result, "result"), bridge.to_core(ground_truth, "ground_truth")
        small = None if lr is None else bridge.to_core(lr, "lr")
        finder, encoder = (analyzer.finder, analyzer.encoder) if analyzer else (None, None)
        report = compare_pictures(results, truth, small, finder, encoder, bridge.use(analyzer).check)
        sheet = bridge.to_comfy(draw_pairs(results, truth, small, report.figures))
        bridge.say(report.text())
        return io.NodeOutput(report.text(), sheet, report.identity, ui=ui.PreviewImage(sheet, cls=cls))
