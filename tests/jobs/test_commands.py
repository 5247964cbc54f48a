"""The commands as they are typed: results on stdout, one clear line for what cannot be done, exit codes."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from jobs.__main__ import main
from pipeline.carry import RunStage, Stage
from pipeline.config import Config
from pipeline.lock import LOCK
from pipeline.request import Request
from pipeline.resources import Pools
from pipeline.run import Run, find
from pipeline.store import Folder
from pipeline.unit import Unit
from pipeline.write import read_parts
from tests.imported import imported

PATIENCE_S = 240  # with a process that starts Ray on a machine that is slow and busy: longer is a hang


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def transcribe(sample, out, capsys):
    """`nightshift transcribe` in this process: exit code, stdout, stderr."""

    def run(*arguments: str, source: Path | str = sample / "corpus/manifest.jsonl", target: Path | str = out):
        model = [] if "--model" in arguments else ["--model", str(sample / "model")]
        where = [] if "--address" in arguments else ["--address", "here"]
        code = main(["transcribe", str(source), str(target), *where, *model, *arguments])
        return (code, *capsys.readouterr())

    return run


def is_one_clear_line(stderr: str) -> bool:
    """The last line is ours and nothing before it is a traceback."""
    return stderr.splitlines()[-1].startswith("nightshift: ") and "Traceback" not in stderr


def test_files_alone_print_their_texts_without_ray(sample, capsys):
    names = [str(sample / "corpus" / name) for name in ("000.flac", "001.wav")]
    assert main(["transcribe", names[0], "--model", str(sample / "model")]) == 0
    text = capsys.readouterr().out.strip()
    assert text
    assert main(["transcribe", *names, "--model", str(sample / "model"), "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["text"] == text == " ".join(word["word"] for word in first["words"])
    assert 0 < first["confidence"] <= 1
    assert second["id"] == names[1]
    assert "ray" not in imported(["transcribe", names[0], "--model", str(sample / "model")])[0]


def test_a_glob_of_files_alone_is_what_a_run_would_list(sample, tmp_path, capsys):
    """In one order, without hidden files, and with folders that are called like audio looked over."""
    for name in ("b.flac", "a.flac", ".hidden.flac", "_c.flac"):
        shutil.copy(sample / "corpus" / "000.flac", tmp_path / name)
    (tmp_path / "folder.flac").mkdir()
    assert main(["transcribe", f"{tmp_path}/*.flac", "--model", str(sample / "model")]) == 0
    printed = [line.partition(": ")[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == [f"{tmp_path}/{name}" for name in ("_c.flac", "a.flac", "b.flac")]
    assert main(["transcribe", f"{tmp_path}/*.wav", "--model", str(sample / "model")]) == 2
    assert "nothing matches" in capsys.readouterr().err


@pytest.fixture
def lm(tmp_path):
    words = "".join(f"-1\t{word}\t0\n" for word in ("A", "SHORT", "ONE"))
    path = tmp_path / "lm.arpa"
    path.write_text(
        f"\\data\\\nngram 1=6\nngram 2=1\n\n\\1-grams:\n-2\t<unk>\n-99\t<s>\t0\n-1\t</s>\n{words}\n"
        "\\2-grams:\n-0.5\tA SHORT\n\n\\end\\\n"
    )
    return path


def test_a_language_model_decodes_files_too(sample, lm, capsys):
    arguments = ["transcribe", str(sample / "corpus/000.flac"), "--model", str(sample / "model"), "--lm", str(lm)]
    assert main([*arguments, "--set", "decode.num_best=2", "--json"]) == 0
    with_lm = json.loads(capsys.readouterr().out)
    assert with_lm["nbest"][0]["text"] == with_lm["text"]
    assert with_lm["nbest"][0]["score"] == with_lm["score"] >= with_lm["nbest"][-1]["score"]
    assert main([*arguments, "--decoder", "greedy", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["score"] is None
    assert "warning: decode.lm without effect: decoding is greedy" in printed.err
    assert main([*arguments, "--keep-emissions"]) == 2
    assert "name a run directory last" in capsys.readouterr().err


def test_a_run_is_decoded_again_with_what_was_kept(transcribe, lm, out, tmp_path, capsys):
    _, stdout, _ = transcribe("--keep-emissions", "--lm", str(lm))
    assert re.search(r"^emissions kept +0\.\d MB, [\d.]+ MB per hour of audio$", stdout, re.MULTILINE)
    code = main(["decode", str(out), str(tmp_path / "again"), "--lm", str(lm), "--address", "here", "--json"])
    again, first = json.loads(capsys.readouterr().out), json.loads((out / "summary.json").read_text())
    assert code == 0
    assert again["tally"] == first["tally"]
    assert again["stage_s"].keys() - {"warm up"} == {"load", "decode", "score", "write"}
    assert main(["status", str(tmp_path / "again")]) == 0
    code, _, stderr = transcribe("--keep-emissions")
    assert (code, "is another run (decode." in stderr) == (2, True)


def test_decode_says_first_that_it_will_not_delete_what_it_reads(transcribe, out, capsys):
    """Not that --overwrite would: whoever follows that loses the emissions."""
    transcribe("--keep-emissions", "--limit", "2")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for flags in ([], ["--overwrite"]):
        assert main(["decode", str(out), f"{out.parent}/./{out.name}/../out", *flags, "--address", "here"]) == 2
        told = capsys.readouterr().err
        assert is_one_clear_line(told)
        assert "is the run to be decoded again" in told and "--overwrite" not in told
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_decode_goes_by_the_run_where_nothing_is_said(transcribe, lm, out, tmp_path, capsys):
    transcribe("--keep-emissions", "--lm", str(lm), "--limit", "4")
    arguments = ["decode", str(out), str(tmp_path / "again"), "--address", "here"]
    assert main([*arguments, "--set", "read.limit=2"]) == 0
    told = capsys.readouterr().err
    assert "decoding (native, lm.arpa)" in told and "reading the run's manifest" in told
    assert "warning: read.limit without effect" in told
    assert read_parts(find(str(tmp_path / "again"))).to_pylist() == read_parts(find(str(out))).to_pylist()


def test_plan_says_how_a_run_would_decode(sample, lm, out, capsys):
    arguments = ["plan", str(sample / "corpus/manifest.jsonl"), str(out), "--model", str(sample / "model")]
    lower = lm.with_name("lower.arpa")
    lower.write_text(lm.read_text().replace("SHORT", "short").replace("ONE", "one").replace("\tA", "\ta"))
    assert main([*arguments, "--lm", str(lower), "--keep-emissions"]) == 0
    printed = capsys.readouterr()
    assert re.search(r"^decoder +native, lower.arpa$", printed.out, re.MULTILINE)
    assert re.search(r"^emissions +kept$", printed.out, re.MULTILINE)
    assert "in upper case they would fit" in printed.err
    assert main([*arguments, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert (planned["decoding"]["decoder"], planned["keep_emissions"]) == ("greedy", False)


def test_a_file_that_cannot_be_read_does_not_stop_the_others(sample, capsys):
    names = [str(sample / "corpus" / name) for name in ("notes.wav", "missing.flac", "000.flac")]
    assert main(["transcribe", *names, "--model", str(sample / "model")]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{names[2]}: ")
    assert "notes.wav: read: not audio" in printed.err
    assert "missing.flac: read: missing file" in printed.err


def test_json_is_the_last_line_of_stdout_and_equals_the_summary_file(transcribe, out):
    code, stdout, _ = transcribe("--json")
    assert code == 0
    assert json.loads(stdout.splitlines()[-1]) == json.loads((out / "summary.json").read_text())


def test_the_failure_limit_decides_the_exit_code(transcribe):
    assert transcribe("--set", "run.max_failed_share=0.5")[0] == 0
    code, _, stderr = transcribe("--set", "run.max_failed_share=0.1")
    assert code == 1
    assert "25.00%" in stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"model_type": "hubert"}, "hubert"), ({"vocab_size": 99}, "99 outputs"), ({"hidden_act": "swash"}, "swash")],
)
def test_a_model_that_cannot_run_is_refused_before_anything_is_written(
    changes, message, sample, out, tmp_path, transcribe
):
    """The risk: a corpus listed and a cluster started for a model that no encoder will load."""
    model = shutil.copytree(sample / "model", tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | changes))
    code, _, stderr = transcribe("--model", str(model))
    assert code == 2 and is_one_clear_line(stderr) and message in stderr and str(model) in stderr
    assert not out.exists()


def test_plan_touches_nothing(sample, out, transcribe, capsys):
    arguments = ["plan", str(sample / "corpus/manifest.jsonl"), str(out), "--model", str(sample / "model")]
    assert main(arguments) == 0
    assert not out.exists()
    assert re.search(r"^recordings +16$", capsys.readouterr().out, re.MULTILINE)
    transcribe()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert main([*arguments, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["committed"] == planned["units"] == find(str(out)).info()["num_units"]
    assert planned["recordings"] == 16
    assert list(planned["stages"]) == ["read", "encode", "decode", "score", "write"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_status_reads_a_run_from_its_files(transcribe, out, capsys):
    transcribe()
    assert main(["status", str(out)]) == 0
    assert "complete" in capsys.readouterr().out
    next((out / "commits").iterdir()).unlink()
    assert main(["status", str(out), "--json"]) == 1
    status = json.loads(capsys.readouterr().out)
    assert status["num_committed"] == status["num_units"] - 1
    assert status["complete"] is False
    assert status["driver"] is None


def test_the_audio_of_a_complete_run_is_what_was_read(sample, out, capsys):
    """Of files without a manifest only sizes are known before: their estimate must not outlive the run."""
    given = [str(sample / "corpus"), str(out), "--model", str(sample / "model"), "--source", "files"]
    assert main(["transcribe", *given, "--limit", "3", "--address", "here", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    audio_s = result["tally"]["audio_s"]
    assert result["tally"]["num_ok"] == 3 and result["num_units"] == 1
    assert (result["seconds_total"], result["seconds_known"]) == (pytest.approx(audio_s), True)
    next((out / "commits").iterdir()).unlink()
    assert main(["status", str(out), "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["seconds_known"] is False and result["seconds_total"] != pytest.approx(audio_s)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "encode.devise=cpu"], "did you mean encode.device?"),
        (["--set", "encode.actors=two"], "encode.actors"),
        (["--config", "no-such-file.toml"], "no-such-file.toml"),
        (["--model", "no/such/model"], "no/such/model: no such directory"),
    ],
)
def test_settings_that_cannot_be(transcribe, arguments, told):
    code, stdout, stderr = transcribe(*arguments)
    assert (code, stdout) == (2, "")
    assert is_one_clear_line(stderr)
    assert told in stderr


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("nothing-here", None, "no such file"),
        ("shard.parquet", b"not parquet", "shard.parquet: none of its shards can be read (shard not readable: "),
        ("list.jsonl", b'{"audio": "a.wav"}\n{"audio": \n', "list.jsonl line 2: not JSON"),
    ],
)
def test_inputs_that_cannot_be(transcribe, tmp_path, out, name, content, told):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    code, stdout, stderr = transcribe(source=tmp_path / name)
    assert (code, stdout) == (2, "")
    assert is_one_clear_line(stderr)
    assert told in stderr
    assert not (out / "run.json").exists()


def test_a_folder_without_audio(transcribe, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/readme.txt").write_text("no audio")
    code, _, stderr = transcribe(source=tmp_path / "docs")
    assert code == 2
    assert "no audio in it" in stderr


def test_a_model_directory_without_weights(transcribe, sample, tmp_path, out):
    shutil.copytree(sample / "model", tmp_path / "model")
    (tmp_path / "model/model.safetensors").unlink()
    code, _, stderr = transcribe("--model", str(tmp_path / "model"))
    assert code == 2
    assert is_one_clear_line(stderr)
    assert "has no weights" in stderr
    assert not out.exists()  # so that the same command works once the weights are there


def test_a_model_without_a_ctc_head(transcribe, sample, tmp_path, out, capsys):
    """It has no vocabulary either, and that must not be what is missed."""
    shutil.copytree(sample / "model", tmp_path / "cls")
    config = json.loads((tmp_path / "cls/config.json").read_text())
    (tmp_path / "cls/config.json").write_text(
        json.dumps(config | {"architectures": ["HubertForSequenceClassification"]})
    )
    (tmp_path / "cls/vocab.json").unlink()
    told = f"model {tmp_path / 'cls'} has no CTC head (its config.json says HubertForSequenceClassification)"
    code, _, stderr = transcribe("--model", str(tmp_path / "cls"))
    assert code == 2 and is_one_clear_line(stderr) and told in stderr
    assert not out.exists()
    assert main(["transcribe", str(sample / "corpus/000.flac"), "--model", str(tmp_path / "cls")]) == 2
    assert told in capsys.readouterr().err


def test_an_output_of_another_run(transcribe, sample):
    transcribe()
    code, _, stderr = transcribe("--source", "files", source=sample / "corpus")
    assert code == 2
    assert "is another run (input: " in stderr
    assert transcribe("--overwrite", "--source", "files", source=sample / "corpus")[0] == 0


def test_no_permission_to_write(sample, tmp_path):
    """Root may write anywhere, so the command gives up that right, after a first run that has imported everything."""
    (tmp_path / "closed").mkdir(mode=0o555)
    arguments = ["transcribe", str(sample / "corpus/manifest.jsonl"), "--model", str(sample / "model")]
    code = f"""
import os
from jobs.__main__ import main
main([*{arguments!r}, {str(tmp_path / "open")!r}, "--address", "here"])
if os.geteuid() == 0:
    os.seteuid(65534)
os._exit(main([*{arguments!r}, {str(tmp_path / "closed/out")!r}, "--address", "here"]))
"""
    for folder in (tmp_path, *tmp_path.parents, sample):
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(0o755)  # pytest's folders are their owner's alone
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert is_one_clear_line(done.stderr)
    assert "cannot write to" in done.stderr
    assert "ermission denied" in done.stderr


def start(sample: Path, out: Path, *arguments: str, program: tuple[str, ...] = ("-m", "jobs")) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, *program, "transcribe", str(sample / "corpus/manifest.jsonl"), str(out)),
            *("--model", str(sample / "model"), *arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_overwrite_looks_at_the_input_before_it_deletes_anything(transcribe, out):
    transcribe()
    code, _, stderr = transcribe("--overwrite", source="no-such-manifest.jsonl")
    assert code == 2
    assert "no such file" in stderr
    assert len(read_parts(find(str(out)))) == 16


@pytest.mark.parametrize("line", ['{"audio_filepath": 5}', '{"audio_filepath": "nosuch://x"}', "{"])
def test_overwrite_deletes_nothing_for_an_input_with_a_bad_line(transcribe, sample, tmp_path, out, line):
    transcribe()
    good = (sample / "corpus/manifest.jsonl").read_text()
    (tmp_path / "list.jsonl").write_text(f"{good}{line}\n")
    code, _, stderr = transcribe("--overwrite", source=tmp_path / "list.jsonl")
    assert code == 2
    assert "line 17" in stderr
    assert len(read_parts(find(str(out)))) == 16


def test_overwrite_leaves_foreign_files_and_starts_afresh(transcribe, sample, out):
    transcribe()
    (out / "notes.txt").write_text("mine")
    assert transcribe("--overwrite", "--source", "files", source=sample / "corpus")[0] == 0
    assert transcribe("--source", "files", source=sample / "corpus")[0] == 0
    assert (out / "notes.txt").read_text() == "mine"


def test_a_summary_that_was_lost_is_written_again(transcribe, out):
    transcribe()
    (out / "summary.json").unlink()
    assert transcribe()[0] == 0
    assert json.loads((out / "summary.json").read_text())["complete"] is True


def test_a_run_directory_inside_its_input(sample, tmp_path, capsys):
    shutil.copytree(sample / "corpus", tmp_path / "corpus", ignore=shutil.ignore_patterns("*.jsonl"))
    arguments = ["transcribe", str(tmp_path / "corpus"), str(tmp_path / "corpus/out"), "--address", "here"]
    assert main([*arguments, "--model", str(sample / "model"), "--limit", "2"]) == 0
    assert main(["plan", *arguments[1:], "--model", str(sample / "model"), "--limit", "2"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--model", str(sample / "model"), "--overwrite"]) == 0


def test_a_copy_of_a_model_is_the_same_model(transcribe, sample, tmp_path):
    transcribe()
    shutil.copytree(sample / "model", tmp_path / "moved")
    assert transcribe("--model", str(tmp_path / "moved"))[0] == 0


def test_a_run_that_did_nothing_keeps_its_summary(transcribe, out):
    transcribe()
    before = (out / "summary.json").read_bytes()
    assert transcribe()[0] == 0
    assert (out / "summary.json").read_bytes() == before


def test_what_is_configured_comes_before_the_environment(transcribe, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert transcribe()[0] == 0  # with --address here


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "ray://127.0.0.1:10001"])
def test_a_cluster_that_is_not_there(sample, out, address):
    process = start(sample, out, "--address", address)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert is_one_clear_line(stderr)
    assert address in stderr


def test_an_output_below_a_file(transcribe, tmp_path):
    (tmp_path / "file").touch()
    code, _, stderr = transcribe(target=tmp_path / "file/out")
    assert code == 2
    assert is_one_clear_line(stderr)


def test_credentials_are_kept_nowhere(transcribe, tmp_path, out):
    code, _, stderr = transcribe(source="s3://KEY:SECRET@bucket/audio")
    assert (code, "SECRET" in stderr) == (2, False)
    (tmp_path / "list.jsonl").write_text('{"audio": "http://127.0.0.1:1/a.wav?X-Amz-Signature=SECRET", "text": "A"}\n')
    code, _, stderr = transcribe("--set", "read.storage_deadline_s=1", source=tmp_path / "list.jsonl")
    assert (code, "SECRET" in stderr) == (1, False)
    assert "not one recording was transcribed" in stderr
    (row,) = read_parts(find(str(out))).to_pylist()
    assert row["error"].startswith("read: ")
    assert row["uri"] == "http://127.0.0.1:1/a.wav"
    assert "SECRET" not in str(row)
    (tmp_path / "other.jsonl").write_text('{"audio": "http://me:SECRET@host/a.wav"}\n')
    code, _, stderr = transcribe(source=tmp_path / "other.jsonl", target=tmp_path / "other")
    assert (code, "line 1" in stderr, "SECRET" in stderr) == (2, True, False)


@pytest.mark.ray
def test_a_full_disk_is_told_in_one_line(transcribe, monkeypatch, ray_here):
    """In a worker, where the error is somebody else's process's."""
    stages_of = Request.stages

    def stages(request: Request, config: Config, run: Run, pools: Pools) -> list[Stage]:
        *steps, write = stages_of(request, config, run, pools)
        return [*steps, Stage(write.name, partial(OnFullDisk, write.make), write.pool)]

    monkeypatch.setattr(Request, "stages", stages)
    code, _, stderr = transcribe("--address", "local", "--set", "encode.actors=1")
    assert code == 1
    assert "No space left on device; what is committed is kept" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr


class OnFullDisk:
    """A stage whose parts find no room."""

    def __init__(self, make: Callable[[], RunStage]) -> None:
        self._stage = make()

    def __call__(self, unit: Unit) -> Unit:
        def publish(folder: Folder, name: str, data: bytes) -> None:
            assert name.startswith("part-")
            raise OSError(28, "No space left on device")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Folder, "publish", publish)
            return self._stage(unit)


@pytest.mark.ray
@pytest.mark.parametrize("cpus", [1, *(pytest.param(cpus, marks=pytest.mark.slow) for cpus in (2, 4))])
def test_a_run_ends_on_a_cluster_of(cpus, sample, out):
    """Actors that reserve every CPU leave none for tasks, and Ray then waits for ever without a word.

    And Ray itself has nothing to say, on neither stream.
    """
    process = start(sample, out, "--address", "local", "--set", f"run.cpus={cpus}", "--json")
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, stderr
    assert [line for line in stderr.splitlines() if not re.match(r"\d\d:\d\d:\d\d ", line)] == []
    assert json.loads(stdout)["complete"] is True
    assert len(read_parts(find(str(out)))) == 16


# The real command, in a run that does not end by itself: one of its units takes for ever.
ENDLESS = """
import time
from jobs.__main__ import command
from pipeline.carry import Stage
from pipeline.request import Request
def hold(unit):
    time.sleep(10_000 if unit.id == 3 else 0)
    return unit
def stages(request, config, run, pools, stages=Request.stages):
    read, *rest = stages(request, config, run, pools)
    return [read, Stage("hold", lambda: hold, pools.tasks), *rest]
Request.stages = stages
command()
"""


@pytest.mark.parametrize(
    ("signum", "address"),
    [
        (signal.SIGINT, "here"),
        (signal.SIGTERM, "here"),
        pytest.param(signal.SIGINT, "local", marks=[pytest.mark.ray, pytest.mark.slow]),
        pytest.param(signal.SIGTERM, "local", marks=pytest.mark.ray),  # Ray sets a handler of its own
    ],
)
def test_an_interrupted_run_says_so_and_can_go_on(sample, out, transcribe, signum, address):
    settings = ["--address", address, "--set", "read.unit_s=1", "--set", "encode.actors=1"]
    process = start(sample, out, *settings, program=("-c", ENDLESS))
    while not list(out.glob("commits/*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, stderr
    assert "interrupted; what is committed is kept" in stderr
    assert "Traceback" not in stderr
    assert not (out / LOCK).exists()
    assert transcribe("--set", "read.unit_s=1")[0] == 0
    assert len(read_parts(find(str(out)))) == 16
