"""`hwloop serve` on addresses that other machines reach."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import hwloop
from tests.cli.conftest import ONE_THREAD, Command

TOKEN = "a token of this laboratory"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "lab.example"])
def test_no_other_machine_is_let_in_without_a_token(command: Command, host: str, monkeypatch) -> None:
    monkeypatch.delenv("HWLOOP_TOKEN", raising=False)
    refused = command("serve", "--chip", "sim:pcm-ideal?rows=4&columns=4", "--host", host)
    assert refused.exit_code == 2
    assert f"--host {host} lets other machines use the chip" in refused.stderr
    assert "--token-file" in refused.stderr


def test_with_a_token_it_warns_and_serves_those_who_know_it(folder: Path) -> None:
    file = folder / "chip.token"
    file.touch(mode=0o600)
    file.write_text(TOKEN)
    words = ["serve", "--chip", "sim:pcm-ideal?rows=4&columns=4", "--host", "0.0.0.0", "--port", "0", "--log", "w.txt"]
    environment = {**os.environ, **ONE_THREAD, "HWLOOP_TOKEN": TOKEN}
    command = [sys.executable, "-m", "hwloop", *words]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().decode().split("::")[2])
            with hwloop.connect(f"visa:TCPIP::127.0.0.1::{port}::SOCKET?token_file={file}") as chip:
                assert chip.info.rows == 4
            server.send_signal(signal.SIGTERM)
            _, said = server.communicate(timeout=10)
        finally:
            server.kill()
    assert said.decode().startswith("warning: the chip can be reached at 0.0.0.0 by whoever knows the token")
    assert TOKEN not in said.decode() + (folder / "w.txt").read_text()
