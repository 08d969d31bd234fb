"""The commands `evaluate` and `bench`, end to end with tiny networks and a little archive."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from idfsr_core.cli import main
from idfsr_core.commands.evaluate import shown_command
from idfsr_core.evaluation import opening
from idfsr_core.evaluation.measuring import Instruments
from idfsr_core.evaluation.results import Evaluation
from idfsr_core.evaluation.results_page import new_page
from idfsr_core.evaluation.study_plan import study_names
from idfsr_core.evaluation.study_report import StudyReport
from tests import tiny
from tests.evaluation.people import StubEncoder, StubLandmarks, library

COMMON = ("--people", "3", "--references", "2", "--scales", "16", "--device", "cpu", "--dtype", "float32")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, photos = tmp_path_factory.mktemp("faces"), library(people=3)
    rows = []
    with tarfile.open(folder / "a.tar", "w") as tar:
        for number, data in enumerate(photos.photos):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
            person = photos.names[int(photos.identities[number])]
            points = photos.keypoints[number].tolist()
            row = {"file": member.name, "shard": "a.tar", "identity": person, "split": "val", "keypoints": points}
            rows.append(json.dumps(row))
    (folder / "index.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture(autouse=True)
def _instruments(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Instruments(encoders={"stub": StubEncoder()}, landmarks=StubLandmarks())  # pyright: ignore
    monkeypatch.setattr(opening, "open_instruments", lambda *_: stub)


def test_a_whole_run_with_fitting_and_the_papers_form(bundle: Path, archive: Path, tmp_path: Path):
    arguments = ["--bundle", str(bundle), "--faces", str(archive), "--output", str(tmp_path), "--landmarks", "true"]
    arguments += ["--fit", "--fit-steps", "1", "--paper", str(bundle), "--paper-steps", "2", "--sheet", "2"]
    assert main(["evaluate", *COMMON, *arguments]) == 0
    evaluation = Evaluation.load(tmp_path / "report.json")
    methods = {each.method for each in evaluation.sets if each.scale}
    assert {"bicubic", "composite_best", "pooled", "fitted", "other_person", "paper"} <= methods
    assert all(len(each.cases) == 3 for each in evaluation.sets)
    assert evaluation.about["command"].startswith("python -m idfsr_core")
    assert str(tmp_path) not in (tmp_path / "report.json").read_text()
    assert "ours, fitted identity" in (tmp_path / "report.md").read_text()
    sheets = sorted(path.name for path in tmp_path.glob("sheet-*.png"))
    assert sheets == [f"sheet-16x-true-{kind}.png" for kind in ("best", "first", "worst")]
    assert len(list((tmp_path / "sets").glob("fitted-*/*.safetensors"))) == 3


def test_figures_name_nobody(bundle: Path, archive: Path, tmp_path: Path):
    arguments = ["--bundle", str(bundle), "--faces", str(archive), "--output", str(tmp_path), "--landmarks", "true"]
    assert main(["evaluate", *COMMON, *arguments, "--methods", "bicubic", "--sheet", "0"]) == 0
    assert "person 0" not in (tmp_path / "report.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["eyes"], "WHAT"),
        (["--methods", "magic"], "magic"),
        (["--methods", "fitted"], "--fit"),
        (["--scales", "7"], "scale"),
        (["--people", "0"], "people"),
        (["--options", "{"], "options"),
        (["--faces", "nowhere"], "nowhere"),
        (["--report", "nowhere.md"], "nowhere.md"),
    ],
)
def test_what_cannot_be_done_is_named(
    bundle: Path, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
):
    base = ["--bundle", str(bundle), "--faces", str(archive), "--output", str(tmp_path / "out")]
    assert main(["evaluate", *base, *arguments]) == 2
    assert named in capsys.readouterr().err


def test_a_model_of_another_size_is_refused(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    large = tiny.write_bundle(tmp_path / "large.safetensors", size=256)
    assert main(["evaluate", *COMMON, "--bundle", str(large), "--faces", str(archive), "--output", str(tmp_path)]) == 2
    assert "large.safetensors" in (said := capsys.readouterr().err)
    assert "256 px" in said


def test_the_page_is_renewed_without_a_bundle(tmp_path: Path):
    Evaluation(about={"command": "evaluate"}, sets=()).save(tmp_path / "ours.json")
    new_page(tmp_path / "RESULTS.md", ["ours.json"])
    assert main(["evaluate", "--report", str(tmp_path / "RESULTS.md")]) == 0
    assert "- command: evaluate" in (tmp_path / "RESULTS.md").read_text()


def test_bench_prints_ratios_and_says_by_its_exit_code_whether_they_hold(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "bench.json"
    arguments = ["--only", "restore", "--repeats", "1", "--bundle", str(bundle), "--device", "cpu", "--json", str(out)]
    code = main(["bench", *arguments])
    report = json.loads(out.read_text())
    assert code == (0 if report["ratios"][0]["passed"] else 1)
    assert "MiB" in capsys.readouterr().out


def test_absolute_paths_stay_private():
    shown = shown_command(["evaluate", "--bundle", "/home/anna/new model.safetensors", "--people", "8"])
    assert shown == "python -m idfsr_core evaluate --bundle 'new model.safetensors' --people 8"


def _study(folder: Path, **values: object) -> str:
    path = folder / "mine.json"
    path.write_text(json.dumps({"vary": {"steps": [1, 2]}, "references": 2, **values}))
    return str(path)


def test_a_study_leaves_one_file(
    bundle: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    arguments = ["--bundle", str(bundle), "--faces", str(archive), "--output", str(out), *COMMON]
    command = ["evaluate", "study", _study(tmp_path, scales=[8, 32]), *arguments, "--seed", "3"]
    monkeypatch.setattr("sys.argv", ["idfsr", *command])
    assert main(command) == 0
    assert capsys.readouterr().out.endswith("mine.json\n")
    report = StudyReport.load(out / "mine.json")
    assert [row.values for row in report.rows] == [{"steps": 1}, {"steps": 2}]
    assert report.blocks == [("true", 16)]  # the command line goes before the file
    assert report.about["seed"] == 3
    assert report.about["command"].startswith("python -m idfsr_core evaluate study mine.json --bundle tiny.safetensors")
    assert str(tmp_path) not in (out / "mine.json").read_text()
    assert "person 0" not in (out / "mine.json").read_text()


def test_studies_are_listed_with_what_they_are_about(capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", "study", "--bundle", "nowhere"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == study_names()
    assert all(line.endswith(".") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["magic"], "magic"),
        (["forwards", "--methods", "pooled"], "--methods"),
        (["forwards", "--fit"], "--fit"),
        (["forwards", "--people", "0"], "people"),
        (["london", "--references", "4"], "--references"),
        (["recipes"], "--runs"),
        (["recipes", "--runs", "nowhere"], "nowhere"),
    ],
)
def test_a_study_that_cannot_be_measured_is_named(
    bundle: Path, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
):
    base = ["--bundle", str(bundle), "--faces", str(archive), "--output", str(tmp_path / "out")]
    assert main(["evaluate", "study", *arguments, *base]) == 2
    assert named in capsys.readouterr().err
