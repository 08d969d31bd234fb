"""A page of results: hand-written text with tables that are made from the files of measurements.

In the page a comment names a file beside it, and what stands between the two comments is replaced:

    <!-- figures: results/compact.json -->
    ...
    <!-- end of figures -->

A report of `evaluate` or `bench` (JSON) becomes its tables, one of `evaluate study` its one table; a folder of reports
becomes one table with the runs side by side; a Markdown file is taken as it is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import FileFormatError, OutputError
from ..images import atomic_path
from .bench import BENCH_FORMAT, bench_table
from .report import markdown, side_by_side
from .results import FORMAT, Evaluation, read_json
from .study_report import STUDY_FORMAT, StudyReport, study_markdown

_BEGIN, _END = "<!-- figures: {} -->", "<!-- end of figures -->"
_BLOCK = re.compile(r"<!-- figures: (?P<name>[^\n]*?) -->\n.*?<!-- end of figures -->", re.DOTALL)


def update_page(path: Path) -> list[str]:
    """Renew every table of a page; gives back the names of the files used. Run twice it changes nothing.

    Raises:
        FileFormatError: no such page, no marker in it, or a named file that is missing or of no known kind.
        OutputError: the page cannot be written.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"results page {path}", error, "name a Markdown file with figure markers") from error
    names = [match["name"] for match in _BLOCK.finditer(text)]
    if not names or text.count("<!-- figures:") != len(names):
        value = f"{len(names)} whole markers"
        remedy = f"write {_BEGIN.format('results/NAME.json')} and {_END} around each table"
        raise FileFormatError(f"results page {path}", value, remedy)
    renewed = _BLOCK.sub(lambda match: _block(path.parent, match["name"]), text)
    if renewed != text:
        with atomic_path(path) as temporary:
            temporary.write_text(renewed, encoding="utf-8")
    return names


def _block(folder: Path, name: str) -> str:
    return f"{_BEGIN.format(name)}\n\n{_table(folder / name).strip()}\n\n{_END}"


def _table(path: Path) -> str:
    if path.is_dir():
        runs = {each.stem: Evaluation.load(each) for each in sorted(path.glob("*.json"))}
        if not runs:
            raise FileFormatError(
                f"figures {path}", "no report in it", "copy a report.json there under a name of its own"
            )
        return side_by_side(runs)
    if path.suffix == ".md":
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FileFormatError(f"figures {path}", error, "run the measurement that writes it") from error
    values: Any = read_json(path)
    kind = values.get("format") if isinstance(values, dict) else None
    if kind == FORMAT:
        return markdown(Evaluation.load(path))
    if kind == BENCH_FORMAT:
        return bench_table(values)
    if kind == STUDY_FORMAT:
        return study_markdown(StudyReport.load(path))
    raise FileFormatError(f"figures {path}", f"format {kind}", "name a report of `evaluate` or `bench`")


def new_page(path: Path, figures: list[str], title: str = "Results") -> None:
    """Write a page with a marker for each file; an existing page is not touched (OutputError)."""
    if path.exists():
        raise OutputError(f"results page {path}", "is there already", "add a marker to it by hand")
    blocks = "\n\n".join(f"## {Path(name).stem}\n\n{_BEGIN.format(name)}\n{_END}" for name in figures)
    with atomic_path(path) as temporary:
        temporary.write_text(f"# {title}\n\n{blocks}\n", encoding="utf-8")
