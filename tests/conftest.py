"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with research photos and models; a test that needs it is skipped where it is absent."""
    folder = Path(os.environ.get("IDFSR_SHARED", ROOT.parent / "shared"))
    if not (folder / "data" / "faces" / "index.jsonl").is_file():
        pytest.skip(f"needs the research photos: no {folder}; name the folder by IDFSR_SHARED")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """The switch that writes golden values anew."""
    parser.addoption("--renew-golden", action="store_true", help="write the golden values anew, then compare with them")
