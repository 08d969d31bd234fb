"""The page of results is made from the measurements, and again the same."""

from pathlib import Path

import pytest

from idfsr_core.errors import FileFormatError, OutputError
from idfsr_core.evaluation.bench import bench_report
from idfsr_core.evaluation.results import Evaluation, write_json
from idfsr_core.evaluation.results_page import new_page, update_page
from tests.evaluation.test_results import results


def _page(folder: Path) -> Path:
    Evaluation(about={"command": "evaluate"}, sets=(results(),)).save(folder / "ours.json")
    write_json(folder / "speed.json", bench_report([], {"ram": 10.0}, {}))
    (folder / "analyzer.md").write_text("| found |\n| --- |\n| .99 |\n")
    page = folder / "RESULTS.md"
    new_page(page, ["ours.json", "speed.json", "analyzer.md"])
    return page


def test_tables_stand_between_their_markers_and_text_stays(tmp_path: Path):
    page = _page(tmp_path)
    page.write_text("Before.\n\n" + page.read_text() + "\nAfter.\n")
    assert update_page(page) == ["ours.json", "speed.json", "analyzer.md"]
    text = page.read_text()
    assert text.startswith("Before.")
    assert text.endswith("After.\n")
    assert "0.400 ± 0.153" in text
    assert "Peak memory 10 MiB ram" in text
    assert "| .99 |" in text


def test_a_folder_of_reports_becomes_one_table(tmp_path: Path):
    runs = tmp_path / "runs"
    runs.mkdir()
    for name, scale in (("large", 8), ("small", 16)):
        evaluation = Evaluation(about={"command": f"evaluate {name}"}, sets=(results(scale=scale),))
        evaluation.save(runs / f"{name}.json")
    new_page(tmp_path / "RESULTS.md", ["runs"])
    update_page(tmp_path / "RESULTS.md")
    lines = (tmp_path / "RESULTS.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith(("| large", "| small"))]
    assert rows[0].startswith("| large | pooled | found | 3 | 0.400 ± 0.153 | – |")
    assert rows[1].startswith("| small | pooled | found | 3 | – | 0.400 ± 0.153 |")
    assert "- small: `evaluate small`; training: –" in lines


def test_a_second_time_changes_nothing(tmp_path: Path):
    page = _page(tmp_path)
    update_page(page)
    first = page.read_text()
    update_page(page)
    assert page.read_text() == first


@pytest.mark.parametrize("text", ["no markers", "<!-- figures: ours.json -->\nno end"])
def test_a_page_without_whole_markers_is_refused(tmp_path: Path, text: str):
    page = tmp_path / "RESULTS.md"
    page.write_text(text)
    with pytest.raises(FileFormatError, match="marker"):
        update_page(page)


def test_missing_figures_leave_the_page_alone(tmp_path: Path):
    page = _page(tmp_path)
    (tmp_path / "analyzer.md").unlink()
    before = page.read_text()
    with pytest.raises(FileFormatError, match=r"analyzer\.md"):
        update_page(page)
    assert page.read_text() == before


def test_a_page_that_is_there_is_not_overwritten(tmp_path: Path):
    page = _page(tmp_path)
    with pytest.raises(OutputError, match="already"):
        new_page(page, [])
