"""Files over processes and machines, under ``accelerate launch``; one process alone works without it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TypeVar

Job = TypeVar("Job")


class Spread:
    """A context in which jobs are shared out and failures come together again.

    Args:
        device: what the user asked for; None takes the one that accelerate gives to this process.
    """

    def __init__(self, device: str | None) -> None:
        self.device = device
        self._state = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import PartialState

            self._state = PartialState(cpu=device == "cpu")
            self.device = device if device == "cpu" else str(self._state.device)

    def __enter__(self) -> Spread:
        return self

    def __exit__(self, *error: object) -> None:
        if self._state is not None:
            self._state.destroy_process_group()

    def share(self, jobs: Sequence[Job]) -> list[Job]:
        """This process's part of the jobs: together the parts are all of them, each once."""
        if self._state is None:
            return list(jobs)
        if self._state.process_index >= len(jobs):  # accelerate would hand out the last job again
            return []
        with self._state.split_between_processes(list(jobs)) as mine:
            return list(mine)  # pyright: ignore[reportReturnType]

    def finish(self, failures: Sequence[str], total: int) -> int:
        """Collect the failures of all processes, print the list once, and give the exit code: 0 or 1."""
        everything = list(failures)
        if self._state is not None:
            from accelerate.utils import gather_object

            everything = gather_object(everything)
        if self._state is None or self._state.is_main_process:
            print(f"{total - len(everything)} of {total} pictures restored", file=sys.stderr, flush=True)
            for line in everything:
                print(f"  not restored: {line}", file=sys.stderr, flush=True)
        if self._state is not None:  # a process that ends with 1 makes the launcher stop the others
            self._state.wait_for_everyone()
        return 1 if everything else 0
