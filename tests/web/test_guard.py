"""Who is let in: with a token, from pages of this server alone; all others are told one sentence."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hwloop.web.guard import REFUSED
from hwloop.web.settings import SETTINGS
from hwloop.web.site import Site
from tests.web.conftest import HOST, TOKEN, Asker

OPEN = ("/", "/compose", "/jobs", "/files", "/chips", "/log", "/static/style.css", "/files/get/w.npy", "/nowhere")


@pytest.mark.parametrize("path", OPEN)
@pytest.mark.parametrize(
    "wrong",
    [
        {"cookie": ""},
        {"cookie": "hwloop-8642=0123"},
        {"cookie": f"hwloop-8642={TOKEN}"},  # the token itself is no cookie
        {"cookie": "", "authorization": "Bearer wrong"},
        {"cookie": "", "authorization": f"Basic {TOKEN}"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://127.0.0.1:9999"},
        {"sec_fetch_site": "cross-site", "origin": ""},
        {"sec_fetch_site": "same-site", "origin": ""},
        {"host": "evil.example:8642", "origin": ""},
        {"host": "127.0.0.1", "origin": ""},
        {"host": "127.0.0.1:80", "origin": ""},
        {"host": "user@127.0.0.1:8642", "origin": ""},
        {"host": "", "origin": ""},
    ],
)
def test_nobody_else_is_told_anything(ask: Asker, path: str, wrong: dict[str, str]) -> None:
    answer = ask.get(path, **wrong)
    assert answer.status in (401, 403)
    assert answer.text == REFUSED


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT"])
def test_other_methods_are_refused(ask: Asker, method: str) -> None:
    assert (ask(method, "/").status, ask(method, "/").text) == (403, REFUSED)


def test_a_form_needs_the_mark_of_a_page_of_ours(ask: Asker, site: Site) -> None:
    values = {"command": "backends", "do": "run"}
    for wrong in ({"origin": "", "sec_fetch_site": ""}, {"origin": "http://evil.example"}, {"cookie": ""}):
        assert ask.post("/compose", values, **wrong).text == REFUSED
    assert site.queue.open_jobs() == []
    program = {"origin": "", "sec_fetch_site": "", "cookie": "", "authorization": f"Bearer {TOKEN}"}
    assert ask.post("/compose", values, **program).status == 303
    assert [job.asked.by for job in site.queue.open_jobs()] == ["anna"]


def test_the_address_with_the_token_gives_a_cookie_that_scripts_do_not_see(ask: Asker) -> None:
    elsewhere = {"cookie": "", "origin": "", "sec_fetch_site": "cross-site"}  # a link in a mail
    answer = ask.get(f"/?token={TOKEN}", **elsewhere)
    assert answer.status == 200
    cookie = answer.headers["set-cookie"]
    assert TOKEN not in cookie
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert ask.get("/", cookie=cookie.split(";")[0]).status == 200
    wrong = ask.get(f"/?token={TOKEN[:-1]}", **elsewhere)
    assert (wrong.status, wrong.text) == (401, REFUSED)
    assert "set-cookie" not in wrong.headers


def test_every_answer_keeps_other_pages_away(ask: Asker) -> None:
    for path in ("/", "/nowhere", "/files/get/w.npy", "/static/page.js"):
        headers = ask.get(path).headers
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


def test_more_is_not_taken_than_a_form_may_have(ask: Asker) -> None:
    assert ask("POST", "/compose", b"x" * (2**20 + 1), content_type="application/x-www-form-urlencoded").status == 413
    assert ask("POST", "/compose", b"", content_length=str(2**40)).status == 413
    assert ask("POST", "/compose", b"", content_length="-1").status == 413


def test_it_is_written_down_who_did_what(ask: Asker, site: Site) -> None:
    ask.get(f"/?token={TOKEN}", cookie="")
    ask.get("/?token=wrong", cookie="")
    ask.get("/files/get/w.npy")
    rows = [json.loads(line) for line in site.diary.path.read_text().splitlines()]
    assert [(row["token"], row["action"]) for row in rows] == [("anna", "open"), ("-", "refuse"), ("anna", "download")]
    assert {row["address"] for row in rows} == {"127.0.0.1"}
    assert TOKEN not in site.diary.path.read_text()
    assert "download" in ask.get("/log").text


def test_wrong_tokens_do_not_drive_from_the_log_what_others_did(
    ask: Asker, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(50):
        ask.get("/?token=wrong", cookie="")
    assert len(site.diary.path.read_text().splitlines()) == 1
    monkeypatch.setattr("hwloop.web.diary.SETTINGS", replace(SETTINGS, refusals=0.0))
    ask.get("/?token=wrong", cookie="")
    last = json.loads(site.diary.path.read_text().splitlines()[-1])
    assert last["what"] == "a wrong token, and 49 more since the last line on this"


def test_names_of_this_machine_are_its_own(ask: Asker) -> None:
    for host in (HOST, "localhost:8642", "[::1]:8642"):
        assert ask.get("/", host=host, origin=f"http://{host}").status == 200
