"""A suite file is checked as a whole: every mistake on one line, with its place and remedy."""

import time

import pytest
import yaml

from ddpo_bench import cli
from ddpo_bench.config import ConfigError
from ddpo_bench.sweep.suite import load_suite

GOOD = {"base": {"epochs": 2}, "matrix": {"algorithm": ["frozen", "ppo"]}, "seeds": [0, 1]}

WRONG = {
    "unknown algorithm": (
        {"matrix": {"algorithm": ["frozen", "pppo"]}},
        ["matrix.algorithm[1]: unknown algorithm 'pppo'. Did you mean 'ppo'?"],
    ),
    "unknown option": (
        {"matrix": {"algorithm": [{"name": "ppo", "clip_rnge": 1e-3}]}},
        ["matrix.algorithm[0].clip_rnge: unknown key 'clip_rnge'. Did you mean 'clip_range'?"],
    ),
    "option out of range": (
        {"matrix": {"algorithm": [{"name": "ppo", "clip_range": -1}]}},
        ["matrix.algorithm[0].clip_range: must be above 0 and at most 1,000,000,000, got -1."],
    ),
    "dotted option out of range": (
        {"base": {"algorithm": "ppo"}, "matrix": {"algorithm.clip_range": [1e-3, -1]}},
        ["matrix.algorithm.clip_range[1]: must be above 0"],
    ),
    "dotted option unknown": (
        {"base": {"algorithm": "ppo"}, "matrix": {"algorithm.clip_rang": [1, 2]}},
        ["matrix.algorithm.clip_rang: unknown key 'clip_rang'. Did you mean 'clip_range'?"],
    ),
    "dotted key in a number": ({"matrix": {"epochs.many": [1]}}, ["matrix.epochs.many: 'epochs' has no keys inside"]),
    "unknown base key": ({"base": {"epoch": 2}}, ["base.epoch: unknown key 'epoch'. Did you mean 'epochs'?"]),
    "wrong type": ({"base": {"epochs": "many"}}, ["base.epochs: expected a whole number, got 'many'."]),
    "unknown matrix key": (
        {"matrix": {"algoritm": ["ppo", "sac"]}},
        ["matrix.algoritm: unknown key 'algoritm'. Did you mean 'algorithm'?"],
    ),
    "empty list": ({"matrix": {"algorithm": []}}, ["matrix.algorithm: the list is empty. Give at least one value"]),
    "not a list": ({"matrix": {"algorithm": "ppo"}}, ["matrix.algorithm: expected a list, got 'ppo'. Write ['ppo']."]),
    "unknown suite key": ({"seed": [0]}, ["seed: unknown key 'seed'. Did you mean 'seeds'?"]),
    "no seeds": ({"seeds": []}, ["seeds: give a list of whole numbers, for example [0, 1, 2]"]),
    "seed not a number": ({"seeds": [0, "one"]}, ["seeds[1]: expected a whole number, got 'one'."]),
    "seed twice": ({"seeds": [0, 1, 0]}, ["seeds[2]: 0 is given twice. Remove one."]),
    "seed in base": ({"base": {"seed": 3}}, ["base.seed: a suite's seeds are its own key. Write seeds: [...]"]),
    "name with a slash": ({"name": "a/b"}, ["name: 'a/b' cannot name a folder. Use letters"]),
    "same runs twice": (
        {"matrix": {"algorithm": ["ppo", "frozen", {"name": "ppo"}], "reward": ["jpeg_compressibility"]}},
        ["matrix.algorithm[2]: makes the same runs as matrix.algorithm[0]. Remove one of them."],
    ),
    "runs that only execution tells apart": (
        {"matrix": {"algorithm": ["ppo"], "micro_batch": [4, 8]}},
        ["matrix.micro_batch[1]: makes the same runs as matrix.micro_batch[0]. Remove one of them."],
    ),
    "groups of one": (
        {"base": {"advantages": "group"}},
        ["base.samples_per_prompt: group advantages compare the samples of a prompt and need at least 2, got 1."],
    ),
    "many at once": (
        {
            "base": {"epochs": -1, "sampler": {"name": "ddim", "stps": 5}},
            "matrix": {"algorithm": ["ppo", "pppo"], "reward": ["jpeg", "jpeg_compressibility"]},
            "seeds": [True],
        },
        [
            "seeds[0]",
            "base.sampler.stps",
            "base.epochs: must be at least 0",
            "matrix.reward[0]: unknown reward 'jpeg'",
            "matrix.algorithm[1]: unknown",
        ],
    ),
}


def write(path, changes):
    path.write_text(yaml.safe_dump(GOOD | changes))
    return path


@pytest.mark.parametrize(("changes", "mistakes"), WRONG.values(), ids=WRONG)
def test_every_mistake_is_one_line_with_file_key_and_remedy(tmp_path, changes, mistakes):
    path = write(tmp_path / "wrong.yaml", changes)
    with pytest.raises(ConfigError) as raised:
        load_suite(path)
    lines = raised.value.mistakes
    assert len(lines) == len(set(lines)) == len(mistakes)
    for mistake in mistakes:
        assert any(line.startswith(f"{path}: {mistake}") for line in lines), lines


@pytest.mark.parametrize("command", [["run", "--dry-run"], ["validate"]], ids=["run", "validate"])
def test_commands_print_every_mistake(tmp_path, capsys, command):
    changes, mistakes = WRONG["many at once"]
    assert cli.main([*command, str(write(tmp_path / "wrong.yaml", changes))]) == 1
    assert len(capsys.readouterr().err.splitlines()) == len(mistakes)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("name: [", "line 2: not valid YAML"),
        ("- ppo", "must hold a mapping"),
        ("seeds: [0]\nseeds: [1]", "key 'seeds' is given twice"),
        ("algorithm: ppo", "is the configuration of one run, not a suite. Use: ddpo-bench train"),
    ],
)
def test_what_is_not_a_suite_is_one_line(tmp_path, capsys, text, mistake):
    (tmp_path / "wrong.yaml").write_text(text + "\n")
    assert cli.main(["run", str(tmp_path / "wrong.yaml")]) == 1
    error = capsys.readouterr().err
    assert mistake in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("override", "mistake"),
    [
        ("algorithm.clip_range=1", "the matrix varies 'algorithm'. Change matrix.algorithm in"),
        ("epoch=1", "unknown key 'epoch'. Did you mean 'epochs'?"),
        ("seed=1", "sets the seeds by 'seeds'. Pick some with --only"),
        ("epochs", "write key=value"),
    ],
)
def test_a_wrong_override_is_one_line(tmp_path, override, mistake):
    with pytest.raises(ConfigError) as raised:
        load_suite(write(tmp_path / "suite.yaml", {}), [override])
    assert len(raised.value.mistakes) == 1
    assert str(raised.value).startswith(f"--set {override}: ")
    assert mistake in str(raised.value)


def test_overrides_change_the_base(tmp_path):
    suite = load_suite(write(tmp_path / "suite.yaml", {"base": {"sampler": "ddim"}}), ["epochs=7", "sampler.steps=3"])
    assert {cell.config.epochs for cell in suite.cells} == {7}
    assert {cell.config.sampler.options["steps"] for cell in suite.cells} == {3}


def test_a_matrix_value_replaces_a_key_wholly_and_a_dotted_key_sets_one_option(tmp_path):
    changes = {
        "base": {"algorithm": {"name": "ppo", "clip_range": 0.5}},
        "matrix": {"sampler.steps": [3, 4], "algorithm": ["ppo"]},
    }
    cells = load_suite(write(tmp_path / "suite.yaml", changes)).cells
    assert [cell.config.sampler.options["steps"] for cell in cells] == [3, 4]
    assert all(cell.config.algorithm.options["clip_range"] != 0.5 for cell in cells)


def test_the_name_is_the_files_stem_unless_given(tmp_path):
    assert load_suite(write(tmp_path / "mine.yaml", {})).name == "mine"
    assert load_suite(write(tmp_path / "mine.yaml", {"name": "other"})).name == "other"


def test_ten_thousand_runs_are_planned_quickly(tmp_path):
    changes = {"matrix": {"algorithm": ["frozen", "ppo"], "epochs": list(range(50))}, "seeds": list(range(100))}
    path = write(tmp_path / "large.yaml", changes)
    load_suite(write(tmp_path / "small.yaml", {}))  # imports the plugins
    clock = time.process_time()
    suite = load_suite(path)
    from ddpo_bench.sweep.plan import runs_of

    assert len(runs_of(suite)) == 10_000
    assert time.process_time() - clock < 5


def test_rewards_that_differ_in_an_option_make_cells_of_different_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two_rewards.py").write_text("def flaky(i, p, m): ...\ndef slow(i, p, m): ...\n")
    rewards = ["python:two_rewards:flaky", {"name": "python", "function": "two_rewards:slow"}]
    rewards += ["target_colour", {"name": "target_colour", "colour": "red"}]
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(GOOD | {"matrix": {"reward": rewards}}))
    names = ["two_rewards_flaky", "two_rewards_slow", "target_colour", "target_colour_colour_red"]
    assert [cell.name for cell in load_suite(path).cells] == names
