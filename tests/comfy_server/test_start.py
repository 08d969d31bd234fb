"""ComfyUI starts with the pack: quietly, quickly, and with all that belongs to the nodes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nodes.neutral import neutral

from .archive import ROOT
from .checkout import Checkout
from .client import Client
from .launch import MARK, WATCHED
from .server import LAUNCH, Server

SCHEMAS = ROOT / "tests" / "nodes" / "schemas.json"
LEVELS = re.compile(r"\[(WARNING|ERROR|CRITICAL)\]|Warning:|Traceback")


def start_of(log: str) -> str:
    """The log until the server listens."""
    assert "Starting server" in log
    return log.split("Starting server")[0]


def complaints(log: str, pack: Path) -> list[str]:
    """Warnings and errors that name the pack; of a traceback, its first line."""
    ours = re.compile(rf"{re.escape(str(pack))}|\bidfsr", re.IGNORECASE)
    return [line for line in log.splitlines() if LEVELS.search(line) and (ours.search(line) or "Traceback" in line)]


def test_log_holds_no_warning_of_ours(server: Server) -> None:
    assert complaints(start_of(server.log), server.pack) == []
    assert "IMPORT FAILED" not in server.log


def test_a_warning_of_ours_would_be_seen(server: Server) -> None:
    said = (
        f"{server.pack}/nodes/faces.py:3: UserWarning: odd",
        "[WARNING] IDFSR: odd",
        "[ERROR] Traceback (most recent",
    )
    for line in said:
        assert complaints(line, server.pack) == [line]
    assert complaints("[WARNING] something of the core", server.pack) == []


def import_time(log: str, pack: Path) -> float:
    """Seconds that ComfyUI says the pack took, to a tenth."""
    found = re.search(rf"([\d.]+) seconds: {re.escape(str(pack))}$", log, re.MULTILINE)
    assert found, log[-3000:]
    return float(found[1])


def test_import_takes_less_than_a_fifth_of_a_second(server: Server, checkout: Checkout, base: Path) -> None:
    """As ComfyUI prints it. On a machine that does other things as well one start may be slow: the best of three."""
    taken = import_time(server.log, server.pack)
    for _ in range(2):
        if taken >= 0.2:
            taken = min(taken, import_time(Server(checkout, base, log="again.log").run_once(), server.pack))
    assert taken < 0.2


def test_start_imports_neither_diffusers_nor_insightface(server: Server) -> None:
    assert MARK not in start_of(server.log)


def test_the_import_of_a_watched_package_would_be_seen() -> None:
    code = f"""
import sys, importlib.util
sys.path.insert(0, {str(LAUNCH.parent)!r})
import launch
sys.meta_path.insert(0, launch.ImportWatch())
importlib.util.find_spec({WATCHED[0]!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip() == f"{MARK} {WATCHED[0]}"


def test_object_info_equals_the_snapshot(server: Server, client: Client) -> None:
    """What the tests without ComfyUI hold to be the nodes is what a server tells its clients."""
    for saved in (server.base / "models" / "idfsr").rglob("*.safetensors"):
        saved.unlink()  # by another test; lists begin empty
    assert neutral(client.object_info()) == json.loads(SCHEMAS.read_text())


def test_help_pages_are_served(client: Client) -> None:
    for node in json.loads(SCHEMAS.read_text()):
        page = client.get(f"/extensions/idfsr/docs/{node}.md").decode()
        assert page == (ROOT / "nodes" / "web" / "docs" / f"{node}.md").read_text()
        for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page):
            assert len(client.get(f"/extensions/idfsr/docs/{picture}")) > 100, picture


@pytest.mark.parametrize("language", ["en", "zh"])
def test_locales_are_served(client: Client, language: str) -> None:
    served = json.loads(client.get("/i18n"))[language]["nodeDefs"]
    written = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text())
    assert set(written) == set(json.loads(SCHEMAS.read_text()))
    assert {node: served[node] for node in written} == written


def test_templates_are_served_with_their_pictures(client: Client) -> None:
    listed = json.loads(client.get("/workflow_templates"))["idfsr"]
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
    for name in listed:
        assert "nodes" in json.loads(client.get(f"/api/workflow_templates/idfsr/{name}.json"))
        picture = client.get(f"/api/workflow_templates/idfsr/{name}.jpg")
        assert picture[:2] == b"\xff\xd8"


def test_blueprints_are_served(client: Client) -> None:
    listed = json.loads(client.get("/global_subgraphs"))
    ours = {entry["name"] for entry in listed.values() if entry["info"]["node_pack"] == "custom_nodes.idfsr"}
    assert ours == {path.stem for path in (ROOT / "subgraphs").glob("*.json")}
    assert ours
