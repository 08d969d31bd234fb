"""The two loaders."""

from __future__ import annotations

from tests.nodes.running import Pack


def test_the_shipped_model_says_its_licence(pack: Pack) -> None:
    (model,) = pack.run("IDFSRLoadModel")
    assert model.name == "shipped"
    assert model.bundle.parts == ("denoiser", "analyzer", "encoder")
    (text,) = pack.ui["text"]
    assert "non-commercial" in text
    assert model.bundle.card.name in text
    assert pack.said == [text]
