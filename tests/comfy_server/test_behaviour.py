"""How the nodes behave in a running server: interrupted, run again, run a hundred times, wired wrongly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import torch

from idfsr_core import samples
from tests import tiny

from .client import Client, Run
from .graphs import Restoring, restoring
from .server import Server

TINY = "tiny.safetensors"


@pytest.fixture(scope="module")
def chain() -> Restoring:
    """Read only; a test that changes a graph makes its own."""
    return restoring()


@pytest.fixture
def tiny_model(server: Server) -> Iterator[str]:
    """A second model, with another encoder than the shipped one; its name in the loader's list."""
    folder = server.base / "models" / "idfsr"
    folder.mkdir(parents=True, exist_ok=True)
    path = tiny.write_bundle(folder / TINY)
    yield TINY
    path.unlink()


def succeed(run: Run) -> Run:
    assert run.ending == "execution_success", run.error
    return run


def test_every_node_runs_and_shows_something(client: Client, chain: Restoring) -> None:
    run = succeed(client.run(chain.prompt))
    picture = client.pictures(run.outputs[chain.show.id])
    assert picture.shape == (1, 3, 192, 192)
    silent = {chain.analyzer.id, chain.paste.id}
    assert set(run.outputs) == set(chain.prompt) - silent


def test_second_run_executes_nothing(client: Client, chain: Restoring) -> None:
    """And shows the same again."""
    first = client.run(chain.prompt)
    second = succeed(client.run(chain.prompt))
    assert second.executed == []
    assert set(second.of("execution_cached")[0]["nodes"]) == set(chain.prompt)
    assert second.outputs == first.outputs


def test_a_new_seed_runs_the_restorer_and_what_follows(client: Client) -> None:
    changed = restoring()
    client.run(changed.prompt)
    changed.graph.change(changed.restore, seed=7)
    assert succeed(client.run(changed.prompt)).executed == [changed.restore.id, changed.paste.id, changed.show.id]


class Interrupter:
    """Interrupts as soon as a node has reported some steps; counts the steps that are reported after that."""

    def __init__(self, client: Client, node: str, after: int) -> None:
        self.client, self.node, self.after = client, node, after
        self.done = 0
        self.at: float | None = None
        self.later: list[float] = []

    def __call__(self, message: dict[str, Any]) -> None:
        data = message["data"]
        if message["type"] != "progress" or data.get("node") != self.node:
            return
        if self.at is not None:
            self.later += [message["at"]] if message["at"] > self.at else []
        elif data["value"] >= self.after:
            self.done = data["value"]
            self.client.interrupt()
            self.at = time.monotonic()


def interrupted(client: Client, wanted: Restoring, node: str) -> Run:
    """Run until the node has done three steps, interrupt, and hold it to at most the step it is in."""
    interrupter = Interrupter(client, node, after=3)
    run = client.run(wanted.prompt, on_message=interrupter)
    assert interrupter.at is not None, "the node ended before it could be interrupted"
    assert run.ending == "execution_interrupted"
    assert run.messages[-1]["data"]["node_id"] == node
    assert len(interrupter.later) <= 1
    return run


def test_interrupt_stops_restoring_and_the_next_prompt_runs(client: Client) -> None:
    wanted = restoring()
    wanted.graph.change(wanted.restore, steps=400)
    run = interrupted(client, wanted, wanted.restore.id)
    assert wanted.restore.id not in run.outputs
    wanted.graph.change(wanted.restore, steps=2)
    assert wanted.restore.id in succeed(client.run(wanted.prompt)).executed


def test_interrupt_stops_fitting_and_breaks_nothing(client: Client) -> None:
    """Nothing comes out of the interrupted node, and a restoration after it is what it was before it."""
    wanted = restoring()
    before = client.pictures(succeed(client.run(wanted.prompt)).outputs[wanted.show.id])
    fit = wanted.graph.add(
        "IDFSRFitIdentity",
        model=wanted.model[0],
        identity=wanted.identity[0],
        photos__photos_1=wanted.person[0],
        steps=500,
        seed=1,
        learning_rate=0.003,
    )
    shown = wanted.graph.add("PreviewImage", images=fit[1])
    run = interrupted(client, wanted, fit.id)
    assert fit.id not in run.outputs
    assert shown.id not in run.outputs
    client.free()
    again = restoring()
    for _ in range(20):  # the worker forgets when it wakes, at the latest after the next prompt
        run = succeed(client.run(again.prompt))
        if run.executed:
            break
    assert set(run.executed) == set(again.prompt)
    assert torch.equal(client.pictures(run.outputs[again.show.id]), before)


def test_previews_come_while_it_restores(client: Client) -> None:
    wanted = restoring()
    wanted.graph.change(wanted.restore, steps=3, seed=11)
    run = succeed(client.run(wanted.prompt))
    assert run.previews
    values = [data["value"] for data in run.of("progress") if data["node"] == wanted.restore.id]
    assert values == sorted(values)
    assert values[-1] == 3


def test_memory_stays_where_it_was(server: Server, client: Client) -> None:
    """A hundred prompts, all with seeds of their own, every tenth with another picture from the face search on."""
    wanted = restoring()
    process, after = psutil.Process(server.pid), {}
    for number in range(1, 101):
        wanted.graph.change(wanted.restore, seed=1000 + number)
        wanted.graph.change(wanted.degrade, noise=4, seed=number // 10)
        succeed(client.run(wanted.prompt))
        after[number] = process.memory_info().rss / 2**20
    assert after[100] < 1.02 * after[10], after


# --- bad wiring -------------------------------------------------------------------------------------------------------


def refused(client: Client, wanted: Restoring, *words: str) -> None:
    """The prompt ends in a red box, whose text holds the words; the server goes on."""
    run = client.run(wanted.prompt)
    assert run.ending == "execution_error"
    for word in words:
        assert word in run.error, run.error
    assert "Traceback" not in run.error
    assert len(run.error) < 500


def test_identity_of_another_encoder(client: Client, tiny_model: str) -> None:
    wanted = restoring()
    other = wanted.graph.add("IDFSRLoadModel", model=tiny_model)
    wanted.graph.change(wanted.restore, model=other[0])
    refused(client, wanted, "identity", "made by", "Load Face Analyzer")


def test_crop_of_a_size_that_does_not_fit(client: Client) -> None:
    wanted = restoring()
    small = wanted.graph.add(
        "ImageScale", image=wanted.crop[0], upscale_method="area", width=96, height=96, crop="disabled"
    )
    wanted.graph.change(wanted.restore, crop=small[0])
    refused(client, wanted, "crop", "96x96", "128")


def test_picture_without_a_face(client: Client) -> None:
    wanted = restoring()
    grey = wanted.graph.add("EmptyImage", width=64, height=64, batch_size=1, color=0x808080)
    wanted.graph.change(wanted.detect, image=grey[0])
    wanted.graph.change(wanted.crop, image=grey[0])
    wanted.graph.change(wanted.paste, image=grey[0])
    refused(client, wanted, "no face found", "threshold")
    wanted.graph.change(wanted.select, if_none="pass through")
    picture = client.pictures(succeed(client.run(wanted.prompt)).outputs[wanted.show.id])
    assert torch.equal(picture, torch.full_like(picture, 128 / 255))


def test_mask_of_another_size_is_resized_and_said(client: Client) -> None:
    wanted = restoring()
    mask = wanted.graph.add("SolidMask", value=1.0, width=50, height=40)
    wanted.graph.change(wanted.mask, mask=mask[0])
    run = succeed(client.run(wanted.prompt))
    told = wanted.graph.add("PreviewAny", source=wanted.mask[2])
    run = succeed(client.run(wanted.prompt))
    text = " ".join(run.outputs[told.id]["text"])
    assert "50x40" in text
    assert "resized" in text


def test_another_number_of_references_than_crops(client: Client) -> None:
    wanted = restoring()
    two = wanted.graph.add("RepeatImageBatch", image=wanted.crop[0], amount=2)
    wanted.graph.change(wanted.restore, crop=two[0])
    refused(client, wanted, "crop", "2", "1")


def test_damaged_model(server: Server, client: Client, tiny_model: str) -> None:
    path = server.base / "models" / "idfsr" / "broken.safetensors"
    data = (path.parent / tiny_model).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(client, restoring(model=path.name), "broken.safetensors")
    path.unlink()


@pytest.mark.parametrize("node", ["IDFSRSaveIdentity", "IDFSRLoadIdentity"])
def test_identity_name_cannot_leave_its_folder(server: Server, client: Client, node: str) -> None:
    """Refused before anything runs, with the rule for names."""
    wanted = restoring()
    identity = wanted.identity[0] if node == "IDFSRSaveIdentity" else None
    outside = wanted.graph.add(node, identity=identity, name="../escaped", if_exists=identity and "replace")
    if identity is None:
        wanted.graph.change(wanted.restore, identity=outside[0])
    answer = client.post("/prompt", {"prompt": wanted.prompt})
    said = str(answer["node_errors"][outside.id])
    assert "../escaped" in said
    assert "use letters" in said
    assert not list((server.base / "models").rglob("*escaped*"))


def test_saved_identity_is_listed_and_restores_the_same(server: Server, client: Client) -> None:
    wanted = restoring()
    first = client.pictures(succeed(client.run(wanted.prompt)).outputs[wanted.show.id])
    wanted.graph.add("IDFSRSaveIdentity", identity=wanted.identity[0], name="Anna", if_exists="replace")
    succeed(client.run(wanted.prompt))
    assert (server.base / "models" / "idfsr" / "identities" / "Anna.safetensors").is_file()
    loading = restoring()
    loaded = loading.graph.add("IDFSRLoadIdentity", name="Anna")
    loading.graph.change(loading.restore, identity=loaded[0])
    again = client.pictures(succeed(client.run(loading.prompt)).outputs[loading.show.id])
    assert torch.equal(first, again)


def test_the_truth_is_nearer_after_than_before(client: Client, chain: Restoring) -> None:
    """The pictures are real ones: the result resembles the person's own portrait more than the small picture does."""
    result = client.pictures(succeed(client.run(chain.prompt)).outputs[chain.show.id])
    truth = samples.truth("anna")
    enlarged = torch.nn.functional.interpolate(samples.small_portrait("anna"), size=192, mode="bicubic")
    assert (result - truth).square().mean() < (enlarged - truth).square().mean()
