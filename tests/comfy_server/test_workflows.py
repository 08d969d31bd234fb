"""Every workflow that the pack ships, as it is loaded: run by a server, its pictures compared with the core's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfy_cli.workflow_to_api import convert_ui_to_api

from idfsr_core.bundle import SHIPPED, load_bundle

from .archive import ROOT
from .checkpoints import write_sd15, write_upscaler
from .client import Client, Prompt, Run
from .expected import Core, Expected, UnknownNodeError
from .server import Server
from .test_start import complaints

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
TOLERANCE = 1 / 255 + 1e-3  # ComfyUI cuts off to whole levels when it writes a picture; the rest is arithmetic
FEWER = {"IDFSRFitIdentity": {"steps": 4}, "KSampler": {"steps": 2}}  # enough to compare, and to be done in time
FILES = {
    "UpscaleModelLoader": ("upscale_models", write_upscaler),
    "CheckpointLoaderSimple": ("checkpoints", write_sd15),
}
SHOWN = ("PreviewImage", "SaveImage", "IDFSRRestoreFace")


@pytest.fixture(scope="module")
def core() -> Core:
    """The core with the shipped bundle."""
    return Core(load_bundle(SHIPPED))


def nodes_of(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All nodes, those inside subgraphs too."""
    yield from workflow["nodes"]
    for definition in workflow.get("definitions", {}).get("subgraphs", []):
        yield from definition["nodes"]


def make_files(workflow: dict[str, Any], models: Path) -> None:
    """Put the smallest possible model where a loader of the workflow names one."""
    for node in nodes_of(workflow):
        if node["type"] in FILES and node.get("mode", 0) == 0:
            folder, write = FILES[node["type"]]
            path = models / folder / node["widgets_values"][0]
            if not path.is_file():
                write(path)


def to_prompt(workflow: dict[str, Any], client: Client) -> Prompt:
    """In API form, by comfy-cli, with fewer steps where many take long."""
    prompt = convert_ui_to_api(workflow, client.object_info())
    for node in prompt.values():
        limits = FEWER.get(node["class_type"], {})
        node["inputs"] |= {name: min(node["inputs"][name], most) for name, most in limits.items()}
    return prompt


def run_workflow(path: Path, server: Server, client: Client) -> tuple[Prompt, Run]:
    workflow = json.loads(path.read_text(encoding="utf-8"))
    make_files(workflow, server.base / "models")
    prompt = to_prompt(workflow, client)
    return prompt, client.run(prompt, limit=600)


def test_there_are_eight_workflows() -> None:
    assert [path.stem.split()[0] for path in WORKFLOWS] == [str(number) for number in range(1, 9)]


@pytest.fixture(scope="module")
def said_before(server: Server) -> str:
    """The log as the first workflow finds it."""
    return server.log


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem, scope="module")
def ran(request: pytest.FixtureRequest, server: Server, said_before: str) -> Iterator[tuple[Prompt, Run, Client]]:
    """One workflow, run once for all tests of it."""
    client = Client(server.url)
    prompt, run = run_workflow(request.param, server, client)
    yield prompt, run, client
    client.close()


def test_workflow_runs_as_it_is_loaded(ran: tuple[Prompt, Run, Client]) -> None:
    """No error of any node, progress on the way, a picture at every end that is one for pictures."""
    prompt, run, client = ran
    assert run.ending == "execution_success", run.error
    assert run.of("progress"), "no progress was told"
    ends = [node for node, value in prompt.items() if value["class_type"] in ("PreviewImage", "SaveImage")]
    assert ends
    for node in ends:
        assert client.pictures(run.outputs[node]).std() > 0.01, f"node {node} shows nothing"


def test_pictures_are_those_of_the_core(ran: tuple[Prompt, Run, Client], core: Core) -> None:
    prompt, run, client = ran
    assert run.ending == "execution_success", run.error
    expected, compared = Expected(prompt, core), set()
    for node, value in prompt.items():
        if value["class_type"] not in SHOWN:
            continue
        link = [node, 0] if value["class_type"] == "IDFSRRestoreFace" else value["inputs"]["images"]
        try:
            ours = expected.image(link)
        except UnknownNodeError:
            continue
        theirs = client.pictures(run.outputs[node])  # a node shows the first few of many
        if prompt[link[0]]["class_type"] == "ImageStitch":
            theirs = theirs[..., -ours.shape[-2] :, -ours.shape[-1] :]
        assert theirs.shape[1:] == ours.shape[1:]
        difference = (theirs - ours[: len(theirs)]).abs()
        assert difference.max() <= TOLERANCE, f"node {node}, {value['class_type']}: {difference.max() * 255:.1f}/255"
        compared.add(value["class_type"])
    assert "IDFSRRestoreFace" in compared


def test_pack_said_nothing_bad_in_all_this(server: Server, said_before: str) -> None:
    """The last test: no warning of ours, and no error at all, in the log of all workflows."""
    assert server.log.startswith(said_before)
    assert complaints(server.log[len(said_before) :], server.pack) == []
