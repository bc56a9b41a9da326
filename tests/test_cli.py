import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import similar_fast_mini
from similar_fast import __version__
from similar_fast.cli import main
from similar_fast.cli.arguments import dimension_weights, seeds, words
from similar_fast.envs.recorded import Recorded
from similar_fast.errors import EnvError
from similar_fast.models.manifest import read_manifest
from similar_fast.types import Observation


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def first_recording() -> tuple[str, int]:
    task, numbers = next(iter(Recorded.builtin().tasks().items()))
    return task, numbers[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2000-2003", [2000, 2001, 2002, 2003]),
        ("7", [7]),
        ("1,3-4,3", [1, 3, 4]),
    ],
)
def test_seeds_reads_ranges_and_lists(text: str, expected: list[int]) -> None:
    assert seeds(text) == expected


@pytest.mark.parametrize("text", ["", "a", "5-3", "1-b"])
def test_seeds_refuses_what_is_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        seeds(text)


def test_words_drops_repeats_and_blanks() -> None:
    assert words("a, b,,a") == ["a", "b"]


COMMANDS = (
    *("demo", "search", "score", "inspect", "record", "audit-env", "doctor"),
    *("collect", "screenshots", "convert", "pairs", "split", "audit", "eval"),
)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])

    assert caught.value.code == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert command in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_tells_its_arguments(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])

    assert caught.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_version_is_the_crates(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])

    assert capsys.readouterr().out.strip() == f"similar-fast {__version__}"


def test_no_command_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as caught:
        main([])

    assert caught.value.code == 2


def test_search_on_recordings_writes_a_log_and_resumes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, seed = first_recording()
    out = tmp_path / "log.jsonl"
    argv = ["search", "--env", "recorded", "--tasks", task, "--seeds", str(seed)]
    argv += ["--scorer", "lexical", "--budget", "40", "--out", str(out), "--json"]

    code, text, _ = run(capsys, *argv)
    first = out.read_bytes()
    again, _, err = run(capsys, *argv)

    assert code == again == 0
    assert json.loads(text)["tasks"][task]["n"] == 1
    assert out.read_bytes() == first
    assert "1 episodes" in err
    row = json.loads(first)
    assert row["env_steps"] <= 40
    assert "lexical" in row["arm"]
    assert "env=recorded" in row["arm"]


@pytest.mark.parametrize("arm", ["random", "heuristic", "greedy"])
def test_search_plays_every_arm(arm: str, capsys: pytest.CaptureFixture[str]) -> None:
    task, seed = first_recording()

    code, text, _ = run(
        capsys,
        *("search", "--env", "recorded", "--tasks", task, "--seeds", str(seed)),
        *("--arm", arm, "--max-steps", "3", "--json"),
        *(("--scorer", "lexical") if arm == "greedy" else ()),
    )

    assert code == 0
    assert json.loads(text)["arm"].startswith(arm)


def test_search_writes_a_report_a_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, seed = first_recording()

    code, _, _ = run(
        capsys,
        *("search", "--env", "recorded", "--tasks", task, "--seeds", str(seed)),
        *("--scorer", "lexical", "--budget", "20", "--report", str(tmp_path / "reports")),
    )

    assert code == 0
    (report,) = (tmp_path / "reports").glob(f"search*/{task}-{seed}.html")
    assert report.stat().st_size > 1000


def test_search_in_several_workers_plays_every_episode_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, _ = first_recording()
    numbers = [str(seed) for seed in Recorded.builtin().tasks()[task]]
    out = tmp_path / "log.jsonl"

    run(
        capsys,
        *("search", "--env", "recorded", "--tasks", task, "--seeds", ",".join(numbers)),
        *("--arm", "random", "--workers", "3", "--max-steps", "2", "--out", str(out)),
    )

    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(str(row["seed"]) for row in rows) == sorted(numbers)


def test_search_sets_a_failing_episode_aside_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, seed = first_recording()
    other = Recorded.builtin().tasks()[task][1]
    whole = Recorded.reset

    def reset(self: Recorded, task: str, *, seed: int) -> Observation:
        if seed == other:
            raise EnvError("the page hangs")
        return whole(self, task, seed=seed)

    monkeypatch.setattr(Recorded, "reset", reset)
    out = tmp_path / "log.jsonl"

    code, _, err = run(
        capsys,
        *("search", "--env", "recorded", "--tasks", task, "--seeds", f"{other},{seed}"),
        *("--arm", "random", "--out", str(out)),
    )

    assert code == 1
    assert "the page hangs" in err
    assert [json.loads(line)["seed"] for line in out.read_text().splitlines()] == [seed]


def test_an_error_is_one_line_and_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(
        capsys,
        *("search", "--env", "recorded", "--tasks", "no-such-task", "--arm", "random"),
    )

    assert code == 3
    assert out == ""
    assert err.count("\n") == 1
    assert "no-such-task" in err


def test_an_error_with_json_is_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(
        capsys,
        *("search", "--env", "recorded", "--tasks", "no-such-task", "--arm", "random", "--json"),
    )

    assert code == 3
    assert json.loads(out)["error"]["type"] == "EnvError"


def test_report_without_a_search_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "search", "--arm", "random", "--report", "r")

    assert code == 3
    assert "--report has no effect with --arm random" in err


@pytest.mark.parametrize(
    "argv",
    [
        ("--arm", "greedy", "--budget", "1"),
        ("--arm", "heuristic", "--scorer", "random"),
        ("--arm", "search", "--temperature", "0.5"),
        ("--arm", "greedy", "--scorer", "lexical", "--model", "x"),
        ("--arm", "random", "--no-guard"),
        ("--recordings", "x"),
        ("--env", "recorded", "--chromium", "x"),
        ("--env", "recorded", "--arm", "random", "--chromium", "x"),
        ("--workers", "0"),
        ("--arm", "random", "--explain"),
        ("--arm", "greedy", "--no-merge"),
        ("--policy", "puct", "--beam-width", "2"),
        ("--policy", "gumbel", "--c-puct", "2"),
        ("--policy", "abmcts", "--no-greedy-first"),
        ("--policy", "widening", "--no-solve"),
    ],
)
def test_an_option_without_effect_is_refused(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "search", *argv)

    assert code == 3
    assert err.startswith("error: ValueError: --")


def test_arms_that_play_differently_have_different_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, seed = first_recording()
    out = tmp_path / "log.jsonl"
    base = ("search", "--env", "recorded", "--tasks", task, "--seeds", str(seed))

    for extra in (("--max-steps", "2"), ("--max-steps", "3"), ("--seed", "1")):
        run(capsys, *base, "--arm", "random", "--out", str(out), *extra)

    arms = [json.loads(line)["arm"] for line in out.read_text().splitlines()]
    assert len(set(arms)) == 3


@pytest.mark.parametrize(
    "extra",
    [
        ("--policy", "uct"),
        ("--policy", "beam", "--beam-width", "3"),
        ("--max-seconds", "60"),
        ("--max-scorer-calls", "100"),
        ("--max-nbytes", "1000000"),
        ("--no-merge",),
        ("--no-solve",),
        ("--no-early-stop",),
        ("--no-greedy-first",),
    ],
)
def test_a_resumed_log_does_not_mix_searches(
    extra: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, seed = first_recording()
    out = tmp_path / "log.jsonl"
    base = ("search", "--env", "recorded", "--tasks", task, "--seeds", str(seed))
    base += ("--scorer", "lexical", "--num-simulations", "4", "--out", str(out))

    codes = [run(capsys, *base, *more)[0] for more in ((), extra, extra)]

    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert codes == [0, 0, 0]
    assert len(rows) == 2
    assert rows[0]["arm"] != rows[1]["arm"]


def test_an_auto_policy_is_named_by_what_it_stands_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    task, seed = first_recording()
    base = ("search", "--env", "recorded", "--tasks", task, "--seeds", str(seed), "--json")

    arms = [
        json.loads(run(capsys, *base, "--scorer", "lexical", "--budget", "4", *more)[1])["arm"]
        for more in (("--num-simulations", "200"), ("--num-simulations", "201"))
    ]

    assert "policy=gumbel" in arms[0]
    assert "policy=puct" in arms[1]


@pytest.mark.parametrize(
    "policy", ["puct", "uct", "gumbel", "best_first", "beam", "abmcts", "widening"]
)
def test_search_plays_every_policy_and_explains_it(
    policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    task, seed = first_recording()
    argv = ("search", "--env", "recorded", "--tasks", task, "--seeds", str(seed))
    argv += ("--scorer", "lexical", "--num-simulations", "12", "--policy", policy)

    code, text, _ = run(capsys, *argv, "--explain")
    _, plain, _ = run(capsys, *argv)
    _, document, _ = run(capsys, *argv, "--explain", "--json")
    _, short, _ = run(capsys, *argv, "--json")

    assert code == 0
    (search,) = json.loads(document)["searches"]
    assert search["policy"] == policy
    assert search["stopped_by"] in ("simulations", "exhausted")
    assert len(search["explanation"]) == len(search["actions"]) > 0
    for step, action in zip(search["explanation"], search["actions"], strict=True):
        assert step["chosen"]["name"] == action
        for sentence in step["sentences"]:
            assert sentence in text
    assert "Chosen: " not in plain
    (brief,) = json.loads(short)["searches"]
    assert "explanation" not in brief
    assert brief["actions"] == search["actions"]


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4,x", "1,2,3,4,nan", ""])
def test_malformed_weights_are_a_usage_error(text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["search", "--weights", text])

    assert caught.value.code == 2


def test_weights_are_read_in_the_order_of_the_dimensions() -> None:
    assert dimension_weights("3, 5,5,-1,0.5") == (3.0, 5.0, 5.0, -1.0, 0.5)


def test_a_folder_as_a_log_is_one_line_and_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(
        capsys, "search", "--env", "recorded", "--arm", "random", "--out", str(tmp_path)
    )

    assert code == 3
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--report", "none/demo.html"), "the folder of --report is missing"),
        (("--chromium", "chromium"), "--chromium has no effect without --browser"),
    ],
)
def test_demo_refuses_before_it_searches(
    options: tuple[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "demo", *options)

    assert (code, out) == (3, "")
    assert words in err


def test_an_interrupt_stops_the_searches_and_keeps_what_is_finished(tmp_path: Path) -> None:
    out = tmp_path / "log.jsonl"
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from similar_fast.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    argv = ["search", "--env", "recorded", "--scorer", "lexical", "--workers", "2"]
    argv += ["--num-simulations", "1000000", "--out", str(out)]
    playing = subprocess.Popen([sys.executable, "-c", code, *argv], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not out.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.0)  # until it searches; an earlier interrupt must end it as well
        playing.send_signal(signal.SIGINT)
        _, err = playing.communicate(timeout=30)
    finally:
        playing.kill()

    assert playing.returncode == 130
    assert b"interrupted; what was finished is kept" in err


def test_demo_solves_recorded_tasks_and_writes_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "demo.html"

    code, out, _ = run(capsys, "demo", "--scorer", "embedding", "--json", "--report", str(report))

    document = json.loads(out)
    assert code == 0
    assert document["solved"] >= len(document["episodes"]) // 2
    assert report.stat().st_size > 1000


@pytest.mark.usefixtures("shipped_reward")
def test_demo_explains_what_it_chose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = str(tmp_path / "demo.html")
    argv = ("demo", "--num-simulations", "8", "--budget", "16", "--report", report, "--explain")

    _, text, _ = run(capsys, *argv)
    _, document, _ = run(capsys, *argv, "--json")

    for episode in json.loads(document)["episodes"]:
        assert episode["policy"] == "gumbel"
        assert len(episode["explanation"]) == max(1, len(episode["actions"]))
        for step in episode["explanation"]:
            assert all(sentence in text for sentence in step["sentences"])


@pytest.mark.usefixtures("shipped_reward")
def test_demo_says_what_it_chose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = str(tmp_path / "demo.html")
    code, out, _ = run(capsys, "demo", "--num-simulations", "8", "--report", report)

    assert code == 0
    assert "click" in out
    assert "environment steps" in out
    assert report in out.replace("\n", "")


@pytest.mark.usefixtures("shipped_reward")
def test_doctor_tells_versions_and_states(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "doctor", "--json")

    findings = {finding["name"]: finding for finding in json.loads(out)}
    assert code == 0
    assert findings["similar-fast"]["detail"] == __version__
    assert "CPUExecutionProvider" in findings["inference"]["detail"]
    assert {finding["state"] for finding in findings.values()} <= {"ok", "absent"}
    assert findings["reward model"]["detail"] == "checkpoint, runs on CPUExecutionProvider"
    assert findings["default scorer"]["state"] in {"ok", "absent"}


def test_doctor_finds_fault_with_a_package_without_the_reward_model(
    shipped_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    shipped_folder(embedding=Path(similar_fast_mini.__file__).parent / "embedding")

    code, out, _ = run(capsys, "doctor", "--json")

    findings = {finding["name"]: finding for finding in json.loads(out)}
    assert code == 1
    assert findings["reward model"]["state"] == "fault"
    assert "has no folder reward" in findings["reward model"]["detail"]


def test_the_help_needs_no_heavy_import() -> None:
    code = (
        "import sys\nfrom similar_fast.cli import main\n"
        "try:\n    main(['search', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'onnxruntime', 'playwright', 'rich', 'PIL', 'miniwob'} & set(sys.modules)\n"
        "sys.exit(bool(heavy))"
    )

    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)

    assert done.returncode == 0


def test_search_is_guided_by_a_reward_model(
    exported: Callable[[str], tuple[Path, Path]],
    shipped_reward: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    task, seed = first_recording()
    _, folder = exported("qwen2")
    argv = ("search", "--env", "recorded", "--tasks", task, "--seeds", str(seed), "--json")
    argv += ("--num-simulations", "4")

    code, out, _ = run(capsys, *argv, "--model", str(folder))
    default, shipped, _ = run(capsys, *argv)
    wrong, _, embedding = run(
        capsys, *argv, "--model", str(Path(similar_fast_mini.__file__).parent / "embedding")
    )

    digests = {file.name: file.sha256 for file in read_manifest(shipped_reward).files}
    assert (code, default, wrong) == (0, 0, 3)
    assert json.loads(out)["arm"].startswith("search(reward:")
    shipped_digest = digests["decoder.onnx"][:8]
    assert json.loads(shipped)["arm"].startswith(f"search(reward:{shipped_digest}")
    assert json.loads(shipped)["arm"] != json.loads(out)["arm"]
    assert "has no decoder.onnx" in embedding
