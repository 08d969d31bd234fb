"""EdgeFace in torch without its optional package and with a wrong file."""

import importlib.util

import pytest

from idfsr_core.errors import FileFormatError, MissingPackageError
from idfsr_core.identity.edgeface import EdgeFaceTorch


def test_without_timm_the_error_says_so(monkeypatch, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "timm" else real(name, *rest))
    with pytest.raises(MissingPackageError, match="timm"):
        EdgeFaceTorch(tmp_path / "weights.safetensors")


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs the optional package timm")
def test_a_wrong_file_is_refused(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(FileFormatError):
        EdgeFaceTorch(tmp_path / "weights.safetensors")
