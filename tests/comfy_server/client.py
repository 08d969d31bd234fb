"""Talk with a running ComfyUI: queue a prompt, hear what becomes of it, fetch its pictures."""

from __future__ import annotations

import json
import struct
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError

import cv2
import numpy as np
import torch
import websocket
from torch import Tensor

ENDS = ("execution_success", "execution_error", "execution_interrupted")
Prompt = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What became of one prompt."""

    prompt_id: str
    messages: list[dict[str, Any]] = field(repr=False)
    """What the websocket said about it, in order: {"type", "data", "at"}; ``at`` in seconds of a monotonic clock."""
    previews: list[bytes] = field(repr=False)
    """Pictures that came while it ran: JPEG or PNG files."""
    outputs: dict[str, dict[str, Any]]
    """By node id: what the node shows ("images", "text" ...), from the history."""

    @property
    def ending(self) -> str:
        """One of :data:`ENDS`."""
        return self.messages[-1]["type"]

    @property
    def error(self) -> str:
        """The text of the node's red box; empty without an error."""
        return self.messages[-1]["data"].get("exception_message", "")

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of all messages of one type."""
        return [message["data"] for message in self.messages if message["type"] == kind]

    @property
    def executed(self) -> list[str]:
        """Ids of the nodes that ran, in order; cached ones are not among them."""
        return [data["node"] for data in self.of("executing") if data["node"] is not None]


class Client:
    """One browser's worth of connection: the websocket stays open from the first prompt to :meth:`close`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client_id = uuid.uuid4().hex
        address = f"{url.replace('http', 'ws', 1)}/ws?clientId={self.client_id}"
        self._socket = websocket.create_connection(address, timeout=60)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def get(self, path: str, **query: str) -> bytes:
        """The body of a GET."""
        address = self.url + urllib.parse.quote(path) + (f"?{urllib.parse.urlencode(query)}" if query else "")
        with urllib.request.urlopen(address, timeout=120) as answer:
            return answer.read()

    def post(self, path: str, value: dict[str, Any]) -> dict[str, Any]:
        """A POST of JSON; the answer, of a refusal (400) too, with "status"."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(value).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                body, status = answer.read(), answer.status
        except HTTPError as refusal:
            body, status = refusal.read(), refusal.code
        return {"status": status, **(json.loads(body) if body else {})}

    def object_info(self) -> dict[str, Any]:
        """Every node's schema."""
        return json.loads(self.get("/object_info"))

    def queue(self, prompt: Prompt) -> str:
        """Queue a prompt that must be flawless; its id.

        Raises:
            AssertionError: refused, wholly or for one of its outputs.
        """
        answer = self.post("/prompt", {"prompt": prompt, "client_id": self.client_id})
        assert answer["status"] == 200, json.dumps(answer, indent=1)
        assert answer["node_errors"] == {}, json.dumps(answer["node_errors"], indent=1)
        return answer["prompt_id"]

    def interrupt(self) -> None:
        """Stop what runs."""
        self.post("/interrupt", {})

    def free(self) -> None:
        """Have the server forget the results of earlier prompts."""
        self.post("/free", {"free_memory": True})
        time.sleep(1)  # the worker does it as soon as it wakes

    def run(
        self, prompt: Prompt, *, limit: float = 300, on_message: Callable[[dict[str, Any]], None] | None = None
    ) -> Run:
        """Queue a prompt and listen until it ends.

        Args:
            on_message: called with every message about this prompt as it arrives.

        Raises:
            TimeoutError: no end within ``limit`` seconds.
        """
        prompt_id = self.queue(prompt)
        messages: list[dict[str, Any]] = []
        previews: list[bytes] = []
        until = time.monotonic() + limit
        while not messages or messages[-1]["type"] not in ENDS:
            if (left := until - time.monotonic()) <= 0:
                raise TimeoutError(f"the prompt has not ended after {limit} s; last: {messages[-1:]}")
            message = self._receive(left)
            if isinstance(message, bytes):
                previews.append(message)
            elif message is not None and message["data"].get("prompt_id") == prompt_id:
                messages.append(message)
                if on_message is not None:
                    on_message(message)
        return Run(prompt_id=prompt_id, messages=messages, previews=previews, outputs=self._outputs(prompt_id))

    def _receive(self, wait: float) -> dict[str, Any] | bytes | None:
        """A message, a preview picture, or None when ``wait`` seconds were silent."""
        self._socket.settimeout(max(wait, 0.1))
        try:
            received = self._socket.recv()
        except websocket.WebSocketTimeoutException:
            return None
        if isinstance(received, bytes):
            return picture_bytes(received)
        return {**json.loads(received), "at": time.monotonic()}

    def _outputs(self, prompt_id: str) -> dict[str, dict[str, Any]]:
        for _ in range(100):  # the history is written just after the last message
            history = json.loads(self.get(f"/history/{prompt_id}"))
            if prompt_id in history:
                return history[prompt_id]["outputs"]
            time.sleep(0.1)
        raise TimeoutError(f"no history of {prompt_id}")

    def pictures(self, shown: dict[str, Any]) -> Tensor:
        """The pictures that a node shows, as [B, 3, H, W] in 0..1; all must have one size."""
        return torch.cat([self.picture(image) for image in shown["images"]])

    def picture(self, image: dict[str, str]) -> Tensor:
        """One of a node's "images" as [1, 3, H, W] in 0..1."""
        return decode(self.get("/view", **{key: image[key] for key in ("filename", "subfolder", "type")}))


def decode(data: bytes) -> Tensor:
    """A picture file as [1, 3, H, W] in 0..1."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None, f"{len(data)} bytes are no picture"
    return torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255


def picture_bytes(message: bytes) -> bytes:
    """The picture file in a binary message: type 1 has a four-byte format before it, type 4 a length and JSON."""
    kind, second = struct.unpack(">II", message[:8])
    return message[8 + second :] if kind == 4 else message[8:]
