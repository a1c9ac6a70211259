"""docs/reward-server.md, followed to the letter: served, validated, trained with."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
import reward_servers
from followed_page import Page
from run_rows import rows_of

from ddpo_bench import cli
from ddpo_bench.options import options_of
from ddpo_bench.registry import default_of
from ddpo_bench.reward_bases.remote_format import TOKEN_VARIABLE
from ddpo_bench.reward_server.settings import Settings

PAGE = Page("reward-server.md", "")


def test_its_files_and_commands_train_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TOKEN_VARIABLE, reward_servers.TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for text in PAGE.blocks("yaml"):
        Path(text.split()[1]).write_text(text.replace("8100", str(port)))
    served, *commands = PAGE.commands
    assert served == ["reward-server", "rewards.yaml"]
    server = reward_servers.process(tmp_path / "rewards.yaml", port)
    server.start()
    reward_servers.wait_for(port)
    for command in commands:
        assert cli.main(command) == 0, command
    server.terminate()
    server.join()
    assert server.exitcode == 0
    assert any("eval/remote reward=red" in row for row in rows_of(tmp_path / "remote-run"))


def test_its_table_has_every_key_of_the_servers_file_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `?(\w+)`? \|", PAGE.text, flags=re.MULTILINE))
    expected = {key: "required" if key == "rewards" else str(default_of(f)) for key, f in options_of(Settings).items()}
    assert rows == expected
