"""The file of votes: one vote a round, whatever happens around it."""

from __future__ import annotations

import csv
import io
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ddpo_bench.serve.agreement import standings, votes_csv
from ddpo_bench.serve.ratings import CHOICES, Choice
from ddpo_bench.serve.votes import FILE, Picked, Round, Votes, VotesError, votes_file

PICKED = Picked("a dog", 7, "ppo", "smoke/ppo/seed-0", "pretrained", "pretrained")
SCORES: dict[str, dict[str, float | None]] = {"left": {"jpeg": -1.5, "aesthetic": 5.0}, "right": {"jpeg": -2.5}}


def play(votes: Votes, name: str, choice: Choice | None = "left", picked: Picked = PICKED) -> None:
    votes.open_round("stable_diffusion", lambda rounds: picked, name)
    votes.drawn(name, SCORES)
    if choice:
        votes.vote(name, choice)


def test_a_round_holds_one_vote(tmp_path: Path) -> None:
    votes = Votes(tmp_path / FILE)
    play(votes, "first", None)
    assert votes.voted() == []
    told = votes.vote("first", "right")
    assert (told.left_entry, told.right_model, told.choice) == ("ppo", "pretrained", "right")
    with pytest.raises(VotesError, match="has its vote already"):
        votes.vote("first", "left")
    assert [found.choice for found in votes.voted()] == ["right"]


def test_a_round_without_pictures_or_name_cannot_be_voted_on(tmp_path: Path) -> None:
    votes = Votes(tmp_path / FILE)
    with pytest.raises(KeyError):
        votes.vote("nothing", "left")
    assert not votes.path.exists()  # neither reading nor a wrong vote makes a file
    assert votes.voted() == []
    votes.open_round("stable_diffusion", lambda rounds: PICKED, "open")
    with pytest.raises(KeyError):
        votes.vote("open", "left")
    votes.drop("open")
    votes.drawn("open", SCORES)
    with pytest.raises(KeyError):
        votes.vote("open", "left")


def test_clients_at_once_lose_nothing_and_vote_once(tmp_path: Path) -> None:
    votes, seen = Votes(tmp_path / FILE), []

    def client(number: int) -> int:
        def pick(rounds: list[Round]) -> Picked:
            seen.append(len(rounds))
            return PICKED._replace(seed=len(rounds))

        name = f"round-{number}"
        Votes(votes.path).open_round("stable_diffusion", pick, name)
        votes.drawn(name, SCORES)
        given = 0
        for choice in CHOICES:  # three hands on one button
            try:
                Votes(votes.path).vote(name, choice)
            except VotesError:
                continue
            given += 1
        return given

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(client, range(40))) == [1] * 40
    assert sorted(found.seed for found in votes.voted()) == list(range(40)) == sorted(seen)


def test_a_kill_leaves_every_vote_that_was_told(tmp_path: Path) -> None:
    script = f"""
import pathlib, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_votes import Votes, play
votes = Votes(pathlib.Path({str(tmp_path / FILE)!r}))
for number in range(100000):
    play(votes, f"round-{{number}}")
    print(number, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = [next(process.stdout) for _ in range(5)]
        os.kill(process.pid, signal.SIGKILL)
        told += process.stdout.readlines()
    votes = Votes(tmp_path / FILE)
    count = len(votes.voted())
    assert len([line for line in told if line.endswith("\n")]) <= count <= len(told) + 1
    play(votes, "afterwards")
    assert len(votes.voted()) == count + 1


def test_other_files_and_later_formats_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("not a database, " * 100)
    with pytest.raises(VotesError, match=r"text\.sqlite: votes cannot be kept there .*--votes"):
        Votes(tmp_path / "text.sqlite").voted()
    play(Votes(tmp_path / FILE), "first")
    with sqlite3.connect(tmp_path / FILE) as file:
        file.execute("PRAGMA user_version = 2")
    for use in (lambda: Votes(tmp_path / FILE).voted(), lambda: play(Votes(tmp_path / FILE), "second")):
        with pytest.raises(VotesError, match="in format 2, and this version knows 1"):
            use()
    with pytest.raises(VotesError, match="votes cannot be kept there"):
        play(Votes(tmp_path / "missing" / FILE), "first")


def test_the_file_is_next_to_the_suites_and_in_none_of_them(tmp_path: Path) -> None:
    run = tmp_path / "results" / "algos" / "runs" / "ppo-jpeg-0123456789ab" / "seed-0"
    run.mkdir(parents=True)
    committed = tmp_path / "results" / "kinds"
    committed.mkdir()
    (committed / "table.csv").touch()
    expected = tmp_path / "results" / FILE
    for given in (tmp_path / "results", tmp_path / "results" / "algos", committed, run):
        assert votes_file([given]) == expected, given
    assert votes_file([]) == Path("results") / FILE


def test_a_judge_agrees_where_it_scored_the_chosen_picture_higher(tmp_path: Path) -> None:
    votes = Votes(tmp_path / FILE)
    for number, choice in enumerate(["left", "left", "left", "right", "tie"]):
        play(votes, str(number), choice)  # type: ignore[arg-type]
    (found,) = standings(votes.voted())
    assert [entry.name for entry in found.entries] == ["ppo", "pretrained"]
    assert [entry.votes for entry in found.entries] == [5, 5]
    assert found.entries[0].rewards == {"jpeg": -1.5, "aesthetic": 5.0}
    judges = {judge.name: judge for judge in found.judges}
    assert (judges["jpeg"].agreement, judges["jpeg"].votes) == (0.75, 4)
    # Wilson 1927: (p + z2/2n +- z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n)
    assert judges["jpeg"].low == pytest.approx(0.3006, abs=1e-4)
    assert judges["jpeg"].high == pytest.approx(0.9544, abs=1e-4)
    assert (judges["aesthetic"].agreement, judges["aesthetic"].votes) == (None, 0)  # scored one of the pictures only
    assert judges["jpeg"].correlation is None  # of two models there is no order to speak of


def test_orders_are_compared_by_rank(tmp_path: Path) -> None:
    votes = Votes(tmp_path / FILE)
    for number, (better, worse) in enumerate([("a", "b"), ("b", "c"), ("a", "c")] * 3):
        name = str(number)
        picked = Picked("a dog", number, better, better, worse, worse)
        votes.open_round("stable_diffusion", lambda rounds, picked=picked: picked, name)
        score = {"a": 3.0, "b": 2.5, "c": -100.0}
        votes.drawn(name, {"left": {"r": score[better], "s": -score[better]},
                           "right": {"r": score[worse], "s": -score[worse]}})  # fmt: skip
        votes.vote(name, "left")
    (found,) = standings(votes.voted())
    assert [(judge.name, judge.correlation, judge.agreement) for judge in found.judges] == [
        ("r", pytest.approx(1.0), 1.0),
        ("s", pytest.approx(-1.0), 0.0),
    ]


def test_the_csv_holds_every_vote_with_both_pictures_scores(tmp_path: Path) -> None:
    votes = Votes(tmp_path / FILE)
    play(votes, "first", "left", PICKED._replace(prompt='a "dog", running'))
    (row,) = csv.DictReader(io.StringIO(votes_csv(votes.voted())))
    assert (row["prompt"], row["choice"], row["left_entry"]) == ('a "dog", running', "left", "ppo")
    assert (row["left/jpeg"], row["right/jpeg"], row["right/aesthetic"]) == ("-1.5", "-2.5", "")
