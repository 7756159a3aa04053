"""Names stay within the data folder, whatever they are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hwloop.errors import BadInputError
from hwloop.web.folder import DataFolder
from hwloop.web.processes import command_of
from tests.web.conftest import Asker

HOSTILE = (
    "../secret.h5", "a/../../secret.h5", "/etc/passwd", "~/x", "..", ".", "", ".hidden", "a/.hidden/b", "\0", "a\0b",
    "..\\secret.h5", "C:\\x", ".hwloop-web/token", "link-out", "folder-out/secret.h5", "x" * 300, "loop/loop/x",
)  # fmt: skip


@pytest.fixture
def folder(lab: Path) -> DataFolder:
    (lab.parent / "secret.h5").write_text("secret")
    (lab / "link-out").symlink_to(lab.parent / "secret.h5")
    (lab / "folder-out").symlink_to(lab.parent)
    (lab / "link-in").symlink_to(lab / "w.npy")
    (lab / "loop").symlink_to(lab / "loop")
    (lab / ".hwloop-web").mkdir(exist_ok=True)
    (lab / ".hwloop-web" / "token").write_text("secret")
    (lab / "link-hidden").symlink_to(lab / ".hwloop-web" / "token")
    return DataFolder(lab)


@pytest.mark.parametrize("name", [*HOSTILE, "link-hidden"])
def test_no_name_leads_out(folder: DataFolder, name: str) -> None:
    with pytest.raises(BadInputError):
        folder.file(name)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_page_serves_what_lies_outside(ask: Asker, folder: DataFolder, name: str) -> None:
    for page in ("get", "view", "table", "report", "picture", "form"):
        answer = ask.get(f"/files/{page}/{name}")
        assert answer.status in (303, 400, 404)
        assert "secret" not in answer.text.replace("secret.h5", "")


def test_what_lies_inside_is_found(folder: DataFolder, lab: Path) -> None:
    assert folder.file("w.npy") == lab / "w.npy"
    assert folder.file("link-in").read_bytes() == (lab / "w.npy").read_bytes()
    assert {one.name for one in folder.files()} == {"w.npy", "link-in"}


def test_fresh_names_are_free(folder: DataFolder, lab: Path) -> None:
    assert folder.fresh("compare", ".h5") == "compare-1.h5"
    (lab / "compare-1.h5").touch()
    assert folder.fresh("compare", ".h5") == "compare-2.h5"


@pytest.mark.parametrize(
    "name", ["evil.py", "fleet.toml", "x.html", "x.svg", "w.npy", ".h5", "a\nb.npy", "sh", "x.pkl"]
)
def test_only_new_data_is_taken(folder: DataFolder, name: str) -> None:
    with pytest.raises(BadInputError):
        folder.new(name)


def upload(ask: Asker, name: str, content: bytes) -> int:
    mark = b"----boundary"
    head = f'Content-Disposition: form-data; name="file"; filename="{name}"'.encode("latin-1", "replace")
    body = b"--" + mark + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n--" + mark + b"--\r\n"
    return ask("POST", "/files/send", body, content_type=f"multipart/form-data; boundary={mark.decode()}").status


def test_a_file_is_sent_under_its_last_name(ask: Asker, lab: Path) -> None:
    assert upload(ask, "../../up/new.npy", b"content") == 303
    assert (lab / "new.npy").read_bytes() == b"content"
    assert upload(ask, "new.npy", b"other") == 400
    assert (lab / "new.npy").read_bytes() == b"content"
    assert upload(ask, "evil.py", b"import os") == 400
    assert sorted(one.name for one in lab.iterdir() if one.name[0] != ".") == ["new.npy", "w.npy"]


ODD = (
    "<script>alert(1)</script>.npy",
    '"onerror="x.npy',
    "-rf.npy",
    "a b;$(id)`id`.npy",
    "\u202egnp.npy",
    "é%2e%2e.npy",
)


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_shown_and_not_obeyed(ask: Asker, lab: Path, name: str) -> None:
    if "/" in name:
        name = name.replace("/", "_")
    (lab / name).write_bytes(b"odd")
    from urllib.parse import quote

    listed = ask.get("/files")
    assert listed.status == 200
    assert "<script>alert" not in listed.text
    assert '"onerror="' not in listed.text
    assert "\u202e" not in listed.text
    answer = ask.get(f"/files/view/{quote(name)}")  # the address that is asked has no escapes left, as a server has it
    assert answer.status in (200, 400, 404)
    assert "<script>alert" not in answer.text


def test_no_module_is_taken_from_the_data_folder(lab: Path) -> None:
    (lab / "click.py").write_text("raise SystemExit('taken from the data folder')")
    told = subprocess.run(command_of(("--version",)), cwd=lab, capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.startswith("hwloop")


@pytest.mark.parametrize("name", ["a/" * 4000 + "w.npy", "\u00e9" * 190 + ".npy", "\U0001f600" * 60])
def test_a_name_that_no_file_system_takes_is_said(ask: Asker, name: str) -> None:
    answer = ask.get(f"/files/view/{name}")
    assert answer.status == 400
    assert "is no name of a file in the data folder" in answer.text


def test_what_is_wrong_with_a_form_is_said(ask: Asker) -> None:
    answer = ask.post("/compose", {f"a{number}": "1" for number in range(2001)})
    assert answer.status == 400
    assert "Too many fields" in answer.text
