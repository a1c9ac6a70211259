"""`ddpo-bench votes`: what the blind votes say."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ddpo_bench.commands.command import Command, add_votes

if TYPE_CHECKING:
    from rich.table import Table

    from ddpo_bench.serve.agreement import Standings

EXAMPLES = """\
examples:
  ddpo-bench votes                                 ratings, and whether the rewards agree with the votes
  ddpo-bench votes results/algos                   the same votes: they are kept in results/votes.sqlite
  ddpo-bench votes --votes our-votes.sqlite
  ddpo-bench votes --format csv                    every vote, with both pictures' scores

Votes are given on the page Blind vote of ddpo-bench serve (docs/serve.md).
"""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "results",
        nargs="?",
        type=Path,
        default=Path("results"),
        metavar="RESULTS",
        help="the folder that was served (default: results)",
    )
    add_votes(parser)
    parser.add_argument(
        "--format", choices=["table", "csv"], default="table", help="ratings, or every vote (default: table)"
    )


def execute(args: Namespace) -> int:
    from ddpo_bench.serve.agreement import standings, votes_csv
    from ddpo_bench.serve.votes import Votes, votes_file

    path = args.votes or votes_file([args.results])
    rounds = Votes(path).voted()
    if args.format == "csv":
        print(votes_csv(rounds), end="")
    elif rounds:
        print_standings(standings(rounds))
    else:
        print(f"{path}: no votes yet. Give some on the page Blind vote of: ddpo-bench serve {args.results}")
    return 0


def print_standings(found: list[Standings]) -> None:
    from rich.console import Console

    console = Console()
    for family in found:
        console.print(f"{family.family}: {sum(entry.votes for entry in family.entries) // 2} votes", style="bold")
        console.print(rating_table(family))
        console.print(judge_table(family))
    console.print(
        "Rating: Bradley-Terry, in Elo's points around the average model, with its 95 % interval. Agreement: the share "
        "of the votes in which a reward scored the chosen picture higher. Rank correlation: Spearman's, of the models' "
        "ratings and mean scores.",
        style="dim",
    )


def rating_table(family: Standings) -> Table:
    from ddpo_bench.serve.arena import label

    judges = [judge.name for judge in family.judges]
    table = grid(["model", "rating", "95 % interval", "votes", *judges])
    for entry in family.entries:
        rating = entry.rating
        scores = [f"{entry.rewards[name]:.4g}" if name in entry.rewards else "–" for name in judges]
        interval = f"[{rating.low:+.0f}, {rating.high:+.0f}]"
        table.add_row(label(entry.name), f"{rating.value:+.0f}", interval, str(entry.votes), *scores)
    return table


def judge_table(family: Standings) -> Table:
    table = grid(["reward", "agreement", "95 % interval", "votes", "rank correlation"])
    for judge in family.judges:
        known = judge.agreement is not None
        table.add_row(
            judge.name,
            f"{judge.agreement:.0%}" if known else "–",
            f"[{judge.low:.0%}, {judge.high:.0%}]" if known else "–",
            str(judge.votes),
            "–" if judge.correlation is None else f"{judge.correlation:+.2f}",
        )
    return table


def grid(headings: list[str]) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", vertical="bottom")
    return table


COMMAND = Command("show what the blind votes of serve say", EXAMPLES, add_options, execute)
