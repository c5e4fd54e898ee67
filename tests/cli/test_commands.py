"""One tiny run through every command, in order, and what each refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from membrane.cli import audit as audit_command
from membrane.cli import main
from membrane.cli import protect as protect_command
from membrane.core.errors import MembraneError, StoreError
from membrane.core.store import read_json, read_tensors
from membrane.core.version import __version__
from membrane.pptp import Plan
from tests.cli import runs

SOURCE = Path(__file__).resolve().parents[2] / "src"
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Exit status, standard output and standard error of a command line, run in this process."""

    def run(*argv: object) -> tuple[int, str, str]:
        status = main([str(word) for word in argv])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


def program(*argv: object, **options: object) -> subprocess.Popen[str]:
    """The program as a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "membrane", *map(str, argv)]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run file, and beside it the folder of a release and an audit of it."""
    folder = tmp_path_factory.mktemp("tiny")
    file = folder / "run.toml"
    file.write_text(runs.TINY)
    assert main(["protect", str(file), "--out", str(folder / "a"), "--quiet"]) == 0
    assert main(["audit", str(file), "--out", str(folder / "a"), "--quiet"]) == 0
    return file


def test_init_writes_a_run_that_check_accepts_and_overwrites_nothing(tmp_path: Path, say: Say) -> None:
    file = tmp_path / "new" / "run.toml"
    assert say("init", file)[0] == 0
    status, out, _ = say("check", file)
    assert status == 0
    assert "undefended + PPTP (40 epochs)" in out
    file.write_text("mine")
    status, _, err = say("init", file)
    assert (status, file.read_text()) == (2, "mine")
    assert "nothing was written" in err
    assert say("init", file, "--force")[0] == 0
    assert file.read_text() != "mine"
    assert say("init", tmp_path, "--force")[0] == 2


def test_check_says_what_a_run_resolves_and_costs(tiny: Path, say: Say) -> None:
    status, out, err = say("check", tiny)
    words = " ".join(out.split())
    assert (status, err) == (0, "")
    assert "a pool of 1,000 with 20 canaries, 500 set aside to choose on, 297 to test on" in words
    assert "population: 1,960 non-member trials; TPR will be shown at 10 %, 1 % FPR." in words
    assert "At 0.1 % it will be refused: that needs 10,000, so 22 references" in words
    assert "canaries: 40 non-member trials; no TPR will be shown." in words
    assert "8 trainings, 4 for each of: undefended + PPTP (4 epochs); short_schedule (2 epochs)." in words
    assert " thread" in words
    assert "device cpu" in words


def test_the_command_line_says_what_is_trained_on(tiny: Path, tmp_path: Path, say: Say) -> None:
    status, _, err = say("audit", tiny, "--out", tmp_path / "a", "--device", "gpu", "--quiet")
    assert status == 2
    assert "device is 'gpu'; it must be \"auto\"" in err
    file = tmp_path / "run.toml"
    file.write_text(f'{tiny.read_text()}engine = {{ name = "in_process", device = "cuda:77" }}\n')
    for command in (("check", file), ("audit", file, "--out", tmp_path / "b", "--quiet")):
        status, _, err = say(*command)
        assert status == 2
        assert "device is cuda:77" in err
    assert not (tmp_path / "b").exists()


@pytest.mark.slow
def test_the_command_line_goes_before_the_file(tiny: Path, tmp_path: Path, say: Say) -> None:
    file = tmp_path / "run.toml"
    file.write_text(f'{tiny.read_text()}engine = {{ name = "in_process", device = "cuda:77" }}\n')
    assert say("audit", file, "--out", tmp_path / "a", "--device", "cpu", "--quiet")[0] == 0
    assert read_json(tmp_path / "a" / "audit.json")["versions"]["device"] == "cpu"
    assert read_json(tmp_path / "a" / "results.json")["versions"]["device"] == "cpu"


@pytest.mark.slow
def test_check_and_audit_look_into_the_store_that_is_named(tiny: Path, tmp_path: Path, say: Say) -> None:
    shared = tmp_path / "shared"
    file = tmp_path / "run.toml"
    file.write_text(f"{tiny.read_text()}store = {str(shared)!r}\n")
    assert say("audit", file, "--out", tmp_path / "a", "--quiet")[0] == 0
    assert not (tmp_path / "a" / "store").exists()
    assert read_json(tmp_path / "a" / "audit.json")["settings"]["store"] == str(shared)
    status, out, _ = say("check", file)
    assert status == 0
    assert f"in {shared}; " in " ".join(out.split())
    assert say("audit", tiny, "--out", tmp_path / "b", "--store", shared, "--quiet", "--only-finished")[0] == 0
    assert read_json(tmp_path / "b" / "results.json") == read_json(tmp_path / "a" / "results.json")
    status, _, err = say("audit", tiny, "--out", tmp_path / "c", "--store", "nothing://x", "--quiet")
    assert status == 2
    assert "Protocol not known" in err


def test_check_trains_nothing_and_lists_all_that_stops_a_run(tmp_path: Path, say: Say) -> None:
    file = tmp_path / "run.toml"
    text = runs.TINY.replace("holdout = 500", "holdout = 100").replace("references = 4", "references = 5")
    text = text.replace("pool = 1000", "pool = 400").replace('"loss"', '"loss", { name = "lira" }')
    text = text.replace('{ name = "short_schedule", epochs = 2 }', '{ name = "early_stopping", epoch = 9 }')
    file.write_text(text)
    status, _, err = say("check", file)
    assert status == 2
    for part in ("references is 5", "there are 200", "there are 100", "has no epoch 9", "'lira' needs 2 IN"):
        assert part in err, part
    status, _, again = say("audit", file, "--out", tmp_path / "a")
    assert (status, again) == (2, err)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("widths = [16, 16]", "widths = [1000000000000]", "parameters; make it smaller"),
        ("widths = [16, 16]", "widths = [4611686018427387904]", "parameters; make it smaller"),
        ("pool = 1000", "pool = 9000000000", "there are 1500"),
        ("pool = 1000", "pool = -1", "pool is -1"),
        ("canaries = 20", "canaries = 2000", "do not fit into a pool"),
        ("references = 4", "references = 4000000000000", "from 4 to 10,000"),
        ('name = "mlp", widths = [16, 16]', 'name = "vit", patch = 5', "patch"),
        (
            '"short_schedule", epochs = 2',
            '"region_window", regions = ["hiden1"], first = 1, last = 1',
            "Did you mean 'hidden1'?",
        ),
        ("test = 297", "test = 1797", "1797 images"),
    ],
)
def test_check_refuses_what_cannot_be_trained(old: str, new: str, says: str, tmp_path: Path, say: Say) -> None:
    (tmp_path / "run.toml").write_text(runs.TINY.replace(old, new))
    status, out, err = say("check", tmp_path / "run.toml")
    assert (status, out) == (2, "")
    assert says in err


def test_protect_leaves_a_release_that_can_be_used(tiny: Path) -> None:
    folder = tiny.parent / "a"
    facts = read_json(folder / "run.json")
    released, final = read_tensors(folder / "model.safetensors"), read_tensors(folder / "trail" / "final.safetensors")
    plan = Plan.from_plain(read_json(folder / "plan.json"))
    assert facts["label"] == "PPTP"
    assert facts["settings"]["recipe"]["momentum"] == 0.9  # completed, not as written
    assert facts["accuracy"]["n"] == 297
    assert released.keys() == final.keys()
    moved = {key.split(".")[0] for key in final if not torch.equal(released[key], final[key])}
    assert moved == set(plan.regions)
    assert read_json(folder / "risk_map.json")["regions"]


def test_protect_refuses_a_second_release_unless_forced(tiny: Path, tmp_path: Path, say: Say) -> None:
    folder = tmp_path / "a"
    shutil.copytree(tiny.parent / "a", folder)
    before = (folder / "model.safetensors").read_bytes()
    status, _, err = say("protect", tiny, "--out", folder, "--defense", "undefended")
    assert status == 2
    assert "give back the undefended weights" in err
    assert (folder / "model.safetensors").read_bytes() == before
    status, out, _ = say(
        "protect", tiny, "--out", folder, "--defense", "undefended", "--force", "--delete-trail", "--quiet"
    )
    assert status == 0
    assert "as sensitive as" not in out
    assert not (folder / "trail").exists()
    assert not (folder / "risk_map.json").exists()  # it was about another release
    status, _, err = say("locate", folder)
    assert status == 2
    assert "without --delete-trail" in err


def test_a_release_that_is_replaced_half_way_is_no_release(
    tiny: Path, tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights of one release under the run.json of another would be audited as what they are not."""
    folder = tmp_path / "a"
    shutil.copytree(tiny.parent / "a", folder)

    def full(*args: object) -> str:
        raise StoreError("cannot write: No space left on device.")

    monkeypatch.setattr(protect_command, "write_tensors", full)
    assert say("protect", tiny, "--out", folder, "--defense", "short_schedule", "--force", "--quiet")[0] == 2
    assert not (folder / "run.json").exists()
    assert "holds no run.json" in say("locate", folder)[2]
    monkeypatch.undo()
    assert say("protect", tiny, "--out", folder, "--defense", "short_schedule", "--quiet")[0] == 0


def test_protect_warns_of_the_trail(tiny: Path, tmp_path: Path, say: Say) -> None:
    status, out, _ = say("protect", tiny, "--out", tmp_path / "a", "--defense", "short_schedule", "--quiet")
    words = " ".join(out.split())
    assert status == 0
    assert "is as sensitive as the undefended model" in words
    assert "as trained" in words
    assert "is a file" in say("protect", tiny, "--out", tiny)[2]
    status, _, err = say("protect", tiny, "--out", tmp_path / "b", "--defense", "pptp")
    assert status == 2
    assert "There are: undefended, short_schedule, PPTP" in err


def test_locate_shows_each_region(tiny: Path, say: Say) -> None:
    (tiny.parent / "a" / "risk_map.json").unlink()
    status, out, _ = say("locate", tiny.parent / "a", "--quiet")
    assert status == 0
    assert all(region in out for region in ("hidden1", "hidden2", "head", "random channels"))
    assert len(read_json(tiny.parent / "a" / "risk_map.json")["regions"]) == 3
    status, _, err = say("locate", tiny.parent / "a", "--window", 7, 9)
    assert status == 2
    assert "nearest window" in err


def test_locate_by_other_estimators(tiny: Path, say: Say) -> None:
    status, out, _ = say("locate", tiny.parent / "a", "--estimator", "gap_allocation", "--quiet")
    assert status == 0
    assert "points of probability" in out
    assert "random channels" not in out
    written = read_json(tiny.parent / "a" / "risk_map.json")
    assert written["method"] == "gap_allocation"
    assert written["window"] is None
    status, out, _ = say("locate", tiny.parent / "a", "--estimator", "intervention", "--quiet")
    assert status == 0
    assert "unrecovered" in out
    status, _, err = say("locate", tiny.parent / "a", "--estimator", "twinswap")
    assert status == 2
    assert "Did you mean 'twin_swap'" in err
    status, _, err = say("locate", tiny.parent / "a", "--estimator", "past", "--window", 0, 1)
    assert status == 2
    assert "'past' has no setting 'window'" in err


def test_locate_refuses_what_is_no_release(tiny: Path, tmp_path: Path, say: Say) -> None:
    assert "holds no run.json" in say("locate", tmp_path)[2]
    (tmp_path / "run.json").write_text("[]")
    assert "damaged or not ours" in say("locate", tmp_path)[2]
    shutil.copytree(tiny.parent / "a", tmp_path / "a")
    facts = read_json(tmp_path / "a" / "run.json")
    (tmp_path / "a" / "run.json").write_text(json.dumps(facts | {"data": "other"}))
    status, _, err = say("locate", tmp_path / "a")
    assert status == 2
    assert "the data changed" in err


def test_audit_leaves_results_and_a_report(tiny: Path, say: Say) -> None:
    folder = tiny.parent / "a"
    results = read_json(folder / "results.json")
    assert [entry["label"] for entry in results["entries"]] == ["undefended", "short_schedule", "PPTP"]
    assert [attack["name"] for attack in results["attacks"]] == ["loss", "midpoint"]
    assert read_json(folder / "audit.json")["settings"]["audit"]["references"] == 4
    assert (folder / "report.html").is_file()
    before = (folder / "results.json").read_bytes()
    trained = {path: path.stat().st_mtime_ns for path in folder.glob("store/*/*")}
    status, out, _ = say("audit", tiny, "--out", folder, "--quiet")  # nothing is left to train
    assert status == 0
    assert str(folder / "report.html") in out
    assert "undefended: The strongest of 2 attacks" in out
    assert (folder / "results.json").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in folder.glob("store/*/*")} == trained


def test_report_is_written_again_from_the_results(tiny: Path, tmp_path: Path, say: Say) -> None:
    for name in ("results.json", "costs.json"):
        shutil.copy(tiny.parent / "a" / name, tmp_path)
    status, out, _ = say("report", tmp_path, "--markdown")
    assert status == 0
    assert "| PPTP |" in out
    assert not (tmp_path / "report.html").exists()
    assert say("report", tmp_path)[0] == 0
    assert (tmp_path / "report.html").read_bytes() == (tiny.parent / "a" / "report.html").read_bytes()
    (tmp_path / "results.json").write_text("{}")
    assert "not a results file" in say("report", tmp_path)[2]
    assert "holds no results.json" in say("report", tmp_path / "nowhere")[2]


def test_a_function_is_audited_but_not_protected(tmp_path: Path, say: Say) -> None:
    (tmp_path / "own_loop.py").write_text(
        "from membrane.training import Recipe\n"
        "from membrane.models import MLP\n"
        "def train(members, holdout, generator):\n"
        "    return Recipe(MLP(widths=(8,)), epochs=1)(members, holdout, generator)\n"
    )
    file = tmp_path / "run.toml"
    file.write_text(
        'train = "own_loop:train"\ndata = "digits"\nattacks = ["loss"]\naudit = { references = 4, pool = 200 }\n'
    )
    assert "4 calls of own_loop:train" in say("check", file)[1]
    status, out, _ = say("audit", file, "--out", tmp_path / "a", "--quiet", "--seed", 8)
    assert status == 0
    assert "The only attack run" in out
    assert read_json(tmp_path / "a" / "audit.json")["settings"]["seed"] == 8
    status, _, err = say("protect", file, "--out", tmp_path / "b")
    assert status == 2
    assert "call membrane.protect" in err


@pytest.mark.slow
def test_an_own_function_trains_in_processes_too(tmp_path: Path, say: Say) -> None:
    """Its module lies beside the run file, which is on nobody's import path."""
    (tmp_path / "loop_elsewhere.py").write_text(
        "import os\nfrom membrane.models import MLP\nfrom membrane.training import Recipe\n\n\n"
        "def train(members, holdout, generator):\n"
        f"    open({str(tmp_path / 'log')!r}, 'a').write(f'{{os.getpid()}} ')\n"
        "    return Recipe(model=MLP((8,)), epochs=1, batch_size=50)(members, holdout, generator)\n"
    )
    file = tmp_path / "run.toml"
    file.write_text(
        'train = "loop_elsewhere:train"\ndata = "digits"\nattacks = ["loss"]\n'
        'audit = { references = 4, pool = 200 }\nengine = { name = "processes", threads = 1 }\n'
    )
    status, _, err = say("audit", file, "--out", tmp_path / "a", "--quiet", "--workers", 1)
    assert status == 0, err
    assert read_json(tmp_path / "a" / "audit.json")["settings"]["engine"]["workers"] == 1
    pids = (tmp_path / "log").read_text().split()
    assert len(pids) == 4
    assert len(set(pids)) == 1
    assert str(os.getpid()) not in pids
    status, _, err = say("audit", file, "--out", tmp_path / "b", "--quiet", "--engine", "in_process", "--workers", 2)
    assert status == 2
    assert "has no setting 'workers'" in err


@pytest.mark.parametrize("kind", ["attacks", "defenses", "models", "data", "engines"])
def test_list_names_everything_with_its_settings(kind: str, say: Say) -> None:
    status, out, _ = say("list", kind, "--json")
    found = json.loads(out)
    text = say("list", kind)[1]
    assert status == 0
    assert {"attacks": "loss", "defenses": "pptp", "models": "mlp", "data": "digits", "engines": "processes"}[kind] in {
        one["name"] for one in found
    }
    for one in found:
        assert one["what"], one
        assert f"{one['name']}: " in text
        for setting in one["settings"]:
            assert setting["what"], (one["name"], setting)
            assert setting["required"] or "default" in setting
            assert setting["name"] in text
    needs = {one["name"]: one.get("needs") for one in found}
    assert kind != "attacks" or (needs["loss"] is None and needs["lira"]["IN references per example"] == 2)


def test_help_is_short_and_has_an_example(say: Say) -> None:
    status, out, _ = say("--help")
    assert status == 0
    assert len(out.splitlines()) < 35
    assert "membrane audit run.toml --out runs/a" in out
    for command in ("demo", "init", "check", "protect", "locate", "audit", "report", "list"):
        assert f"  {command} " in out
        assert "example:" in say(command, "--help")[1]
    assert say("--version")[1] == f"membrane {__version__}\n"


@pytest.mark.parametrize("argv", [[], ["adit"], ["audit"], ["audit", "x", "--ou", "y"], ["list", "things"]])
def test_a_wrong_command_line_is_refused(argv: Sequence[str], say: Say) -> None:
    status, out, err = say(*argv)
    assert (status, out) == (2, "")
    assert "usage: membrane" in err


def test_a_refusal_has_a_traceback_only_if_asked_for(say: Say) -> None:
    status, _, err = say("check", "nowhere.toml")
    assert (status, err.startswith("membrane: there is no file nowhere.toml."), "Traceback" in err) == (2, True, False)
    for argv in (["--debug", "check", "nowhere.toml"], ["check", "nowhere.toml", "--debug"]):
        assert "Traceback" in say(*argv)[2]


def test_demo_calls_the_verb_and_shows_what_it_found(
    tiny: Path, tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    from membrane.cli import demo

    asked = {}

    def stand_in(out: Path, *, seed: int, progress: object) -> None:
        asked.update(out=out, seed=seed)
        shutil.copy(tiny.parent / "a" / "results.json", out)

    monkeypatch.setattr(demo, "demo", stand_in)
    status, out, _ = say("demo", "--out", tmp_path, "--seed", 4)
    assert (status, asked) == (0, {"out": tmp_path, "seed": 4})
    assert "nothing is downloaded" in out
    assert f"Report: {tmp_path / 'report.html'}" in out


def test_an_interrupted_audit_says_how_to_go_on(
    tiny: Path, tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*args: object, **settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(audit_command, "audit", stopped)
    status, _, err = say("audit", tiny, "--out", tmp_path / "a", "--quiet")
    assert status == 130
    assert f"Finished models are kept in {tmp_path / 'a' / 'store'}" in err


ONE_BY_ONE = 'epochs = 60, precision = "bfloat16"'  # long, and in no stack, all models of which end at once


@pytest.mark.slow
def test_a_real_interrupt_keeps_finished_models(tmp_path: Path) -> None:
    out = tmp_path / "a"
    slow = tmp_path / "run.toml"
    slow.write_text(runs.TINY.replace("epochs = 4", ONE_BY_ONE))
    process = program("audit", slow, "--out", out)
    for _ in range(600):
        if list(out.glob("store/release/*.json")) or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    if (out / "results.json").exists():  # models that were trained together may all have been finished by then
        assert "partial" in json.loads((out / "results.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_audit_reports_what_is_finished_and_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    out, slow = tmp_path / "a", tmp_path / "run.toml"
    text = runs.TINY.replace("epochs = 4", ONE_BY_ONE).replace("references = 4", "references = 8")
    slow.write_text(text.replace("max_candidates = 10", "max_candidates = 4"))
    process = program("audit", slow, "--out", out)
    for _ in range(1200):
        if len(list(out.glob("store/release/[!.]*.json"))) >= 4 or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(number)
    said, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    words = " ".join(said.split())
    assert "Partial: this audit was stopped before its end." in words
    assert "the same command goes on from there" in err
    assert " models to train on cpu: about " in err
    assert "Traceback" not in err
    assert 'class="partial"' in (out / "report.html").read_text()
    assert main(["audit", str(slow), "--out", str(out), "--quiet", "--only-finished"]) == 0
    assert read_json(out / "results.json")["partial"]["of_models"] == 8


def test_nothing_finished_is_no_report(tiny: Path, tmp_path: Path, say: Say) -> None:
    status, _, err = say("audit", tiny, "--out", tmp_path / "nothing", "--only-finished", "--quiet")
    assert status == 2
    assert "undefended 0 of 4" in err


def test_a_refusal_half_way_says_what_was_finished(
    tiny: Path, tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **settings: object) -> None:
        problem = MembraneError("training diverged.")
        problem.add_note("What was finished before is in results.json")
        raise problem

    monkeypatch.setattr(audit_command, "audit", broken)
    status, _, err = say("audit", tiny, "--out", tmp_path / "a", "--quiet")
    assert (status, err) == (2, "membrane: training diverged.\nWhat was finished before is in results.json\n")


@pytest.mark.slow
def test_a_reader_that_leaves_early_causes_no_traceback() -> None:
    process = program("list", "defenses")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("defense", "how"),
    [
        ('"rounding", digits = 3', "Rounding(digits=3).release(network), from membrane.defenses"),
        ('"memguard", epsilon = 1.0, epochs = 2', "Guard of membrane.defenses.memguard, with the numbers in"),
        ('"purifier", epochs = 2', "Purified of membrane.defenses.purifier, with the numbers in"),
    ],
)
def test_protect_says_that_rewritten_answers_are_not_in_the_file(
    defense: str, how: str, tmp_path: Path, say: Say
) -> None:
    file, folder = tmp_path / "run.toml", tmp_path / "a"
    file.write_text(runs.TINY.replace('"short_schedule", epochs = 2', defense))
    label = defense.split('"')[1]
    status, out, err = say("protect", file, "--out", folder, "--defense", label, "--quiet")
    assert status == 0, err
    said = " ".join(out.split())
    assert said.index("rewrites answers; the network stays as it was trained") < said.index("Trained on")
    assert f"holds the bare network. {label!r} is not in it" in said
    assert how in said
    released = read_tensors(folder / "model.safetensors")
    final = read_tensors(folder / "trail" / "final.safetensors")
    assert released.keys() == final.keys()
    assert all(torch.equal(released[key], final[key]) for key in final)
    assert (folder / "answers.safetensors").exists() == (label != "rounding")
    if label != "rounding":
        own = read_tensors(folder / "answers.safetensors")
        assert "key" in own
        assert not {key for key in own if key.startswith("model.")}
