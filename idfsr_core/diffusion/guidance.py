"""Separate guidance scales for style and identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from .conditioning import Conditioning

if TYPE_CHECKING:
    from .denoiser import Denoiser


def guided_estimate(
    denoiser: Denoiser,
    x: Tensor,
    time: Tensor,
    cond: Conditioning,
    style_guidance: float,
    identity_guidance: float,
    slope: Tensor | None = None,
) -> Tensor:
    """The estimate of the clean face under two guidance scales, as in InstructPix2Pix (arXiv 2211.09800, eq. 3).

    ``e(0, 0) + s * (e(style, 0) - e(0, 0)) + i * (e(style, identity) - e(style, 0))``. With both scales at 1 this is
    one forward; each other scale costs one more.

    Args:
        x: [B, 3, S, S].
        time: [B].
        cond: the conditions.
        style_guidance: 0 leaves the style photo out, 1 is plain, above 1 exaggerates.
        identity_guidance: the same for the identity vector and the reference photos.
        slope: see :meth:`Denoiser.forward`; part of the identity.
    """
    full = denoiser(x, time, cond, slope)
    if style_guidance == 1 and identity_guidance == 1:
        return full
    anonymous = cond.without_identity()
    styled = denoiser(x, time, anonymous)
    estimate = styled + identity_guidance * (full - styled)
    if style_guidance != 1:
        plain = denoiser(x, time, anonymous.without_style())
        estimate = estimate + (style_guidance - 1) * (styled - plain)
    return estimate
