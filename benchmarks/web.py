"""What the pages of `hwloop web` reach: each experiment of the first page from form to report, and the limits.

python benchmarks/web.py                       all parts, each of them after the other
python benchmarks/web.py --only fuzz --requests 10000
python benchmarks/web.py --only watchers --minutes 10
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import resource
import statistics
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from browser import Browser, browser
from web_server import Server, serving, until

Known = Mapping[str, Any]


def clicks(window: Browser, server: Server, title: str, seconds: float) -> tuple[int, str]:
    """Go from the first page to the report of an experiment by clicks alone; returns how many, and the verdict."""
    window.visit(server.root)
    window.click(title)
    count = 1
    until(lambda: window.text("h1") not in ("", "Experiments on analog in-memory computing chips"))
    while True:
        window.click("Run", "button")
        count += 1
        until(lambda: "/jobs/" in window.address)
        until(lambda: _ended(window) or "Program this chip" in window.text("#live"), seconds)
        if "Program this chip" not in window.text("#live"):
            break
        window.click("Program this chip")
        count += 1
        until(lambda: window.text("h1") == "program")
    assert _ended(window) == "done", window.text("#live")
    window.click("Report")
    count += 1
    return count, until(lambda: window.text(".verdict"), 90)


def _ended(window: Browser) -> str:
    word = window.text("#live .state")
    return word if word and word not in ("waiting", "starting", "running", "stopping") else ""


def recipes(server: Server, asked: argparse.Namespace) -> None:
    """Run every experiment of the first page in a browser."""
    from hwloop.web.recipes import RECIPES

    with browser() as window:
        window.resize(1024)
        window.visit(server.address)
        until(lambda: window.text("h1"))
        for one in (one for one in RECIPES if not asked.recipe or one.name in asked.recipe):
            began = time.monotonic()
            count, verdict = clicks(window, server, one.title, 900)
            print(f"{one.title:<24} {count} clicks, {time.monotonic() - began:5.0f} s: {verdict}", flush=True)
            assert count <= 5


def compose(server: Server, line: str) -> str:
    """Run a command line by the form; returns the page of its job."""
    page = server.get(f"/compose?line={quote(line)}").decode()
    form = page[page.index('id="compose"') : page.index("</form>")]
    values = {"do": "run"}
    for tag in re.findall(r"<input[^>]*>", form):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r' value="([^"]*)"', tag)
        if name and "checkbox" not in tag and name[1] != "uri-options":
            values[name[1]] = value[1].replace("&amp;", "&") if value else ""
    for name, body in re.findall(r'<select[^>]*name="([^"]*)"[^>]*>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r"<option selected>([^<]*)", body)
        values[name] = chosen[1] if chosen else ""
    for name, value in re.findall(r'type="checkbox" name="([^"]*)" value="([^"]*)" checked', form):
        values[name] = f"{values[name]},{value}" if name in values else value
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/x-www-form-urlencoded"}
    content = "&".join(f"{quote(name)}={quote(value)}" for name, value in values.items())
    link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    link.request("POST", "/compose", content, headers)
    answer = link.getresponse()
    text = answer.read().decode()
    assert answer.status == 303, text[:3000]
    return str(answer.getheader("location"))


def answers(server: Server, asked: argparse.Namespace) -> None:
    """Time the pages while a job on 64 cores runs."""
    job = compose(server, _sixty_four(server, "answers.h5"))
    _wait_until_it_programs(server, job)
    times: dict[str, list[float]] = {}
    pages = ("/", "/jobs", job, f"{job}/live", "/files", "/compose", "/chips", "/log")
    for _ in range(asked.rounds):
        for page in pages:
            began = time.perf_counter()
            server.get(page)
            times.setdefault(page if page != job else "/jobs/JOB", []).append(time.perf_counter() - began)
    running = b"s-running" in server.get(f"{job}/live")
    for page, found in times.items():
        print(f"{page[:40]:<42} median {statistics.median(found):.3f} s, longest {max(found):.3f} s")
    print(
        f"longest of all {max(max(one) for one in times.values()):.3f} s, the job {'ran' if running else 'has ended'}"
    )
    _stop(server, job)


def _wait_until_it_programs(server: Server, job: str) -> None:
    until(lambda: b"programming" in server.get(f"{job}/live"), 300)


def _sixty_four(server: Server, out: str) -> str:
    """Write the command line of a job that uses 64 cores; its weights are made beside it."""
    return f"hwloop program big.npy --backend 'sim:hermes-64?rows=64&columns=64&seed=1' --out {out}"


def _stop(server: Server, job: str) -> None:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/x-www-form-urlencoded"}
    link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    link.request("POST", f"{job}/stop", "", headers)
    link.getresponse().read()
    until(lambda: b"s-running" not in (text := server.get(f"{job}/live")) and b"s-stopping" not in text, 300)


def overhead(server: Server, asked: argparse.Namespace) -> None:
    """Compare the CPU time of a watched job, with that of its server, to that of the same command alone."""
    words = (
        "program data/digits_mlp.safetensors --backend sim:hermes-core?seed=1 --set max_steps=300 "
        "--set max_vectors=1000000"
    )
    alone, watched, ours = [], [], []
    for number in range(asked.rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "hwloop", *words.split(), "--out", f"alone-{number}.h5", "--json"]
        subprocess.run(
            command, cwd=asked.data, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        alone.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        job = compose(server, f"hwloop {words} --out watched-{number}.h5")
        _wait_until_it_programs(server, job)
        server_before = _cpu(server.process.pid)
        watcher = threading.Thread(target=_watch, args=(server, job, [], threading.Event()))
        watcher.start()
        used = 0.0
        while watcher.is_alive():
            used = max(used, _cpu_of_job(asked.data, job))
            watcher.join(0.1)
        watched.append(used)
        ours.append(_cpu(server.process.pid) - server_before)
    one, other, own = map(statistics.median, (alone, watched, ours))
    print(
        f"alone {one:.2f} s of CPU, watched {other:.2f} s ({other / one - 1:+.1%}), "
        f"the server {own:.2f} s ({own / one:.1%})"
    )


def _cpu(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _cpu_of_job(data: Path, job: str) -> float:
    told = json.loads((data / ".hwloop-web" / job.lstrip("/") / "start.json").read_text())
    try:
        return _cpu(told["pid"])
    except (OSError, KeyError):
        return 0.0


def _watch(server: Server, job: str, lines: list[str], over: threading.Event) -> None:
    """Follow a job as a page does, and gather its lines."""
    link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    link.request("GET", f"{job}/events", headers={"Authorization": f"Bearer {server.token}"})
    answer = link.getresponse()
    kind = ""
    while not over.is_set() and (text := answer.readline()):
        line = text.decode().rstrip("\n")
        if line.startswith("event: "):
            kind = line[7:]
            if kind == "end":
                return
        elif line.startswith("data: ") and kind == "line":
            lines.append(line[6:])


def watchers(server: Server, asked: argparse.Namespace) -> None:
    """Let 50 watch a job, and count what each has seen."""
    job = compose(
        server,
        "hwloop program w.npy --backend 'sim:hermes-core?rows=32&columns=32&seed=1' --set max_steps=10000 "
        "--set max_vectors=1000000000 --out watched.h5",
    )
    _wait_until_it_programs(server, job)
    seen: list[list[str]] = [[] for _ in range(50)]
    threads = [threading.Thread(target=_watch, args=(server, job, one, threading.Event()), daemon=True) for one in seen]
    for thread in threads:
        thread.start()
    memory = []
    end = time.monotonic() + 60 * asked.minutes
    while time.monotonic() < end:
        memory.append(_memory(server.process.pid))
        time.sleep(5)
    _stop(server, job)
    for thread in threads:
        thread.join(60)
    written = (asked.data / ".hwloop-web" / job.lstrip("/") / "events.jsonl").read_text().splitlines()
    lost = [len(set(written) - set(one)) for one in seen]
    doubled = [len(one) - len(set(one)) for one in seen]
    fifth = len(memory) // 5
    print(f"50 watchers, {asked.minutes:g} min, {len(written)} events: lost {sum(lost)}, doubled {sum(doubled)}; "
          f"memory {memory[fifth]:.1f} MB after a fifth of the time, {memory[-1]:.1f} MB at the end")  # fmt: skip


def _memory(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]


def fuzz(server: Server, asked: argparse.Namespace) -> None:
    """Send requests that nobody may send, and look at every answer."""
    from hwloop.web.guard import REFUSED

    rng, host = random.Random(asked.seed), f"127.0.0.1:{server.port}"
    secret = asked.data.parent / "secret.txt"
    secret.write_text("the secret outside")
    known: dict[tuple[str, int], int] = {}
    told, worst = 0, 0.0
    for number in range(asked.requests):
        kind, method, path, headers, content = _hostile(rng, host, server.token)
        began = time.perf_counter()
        link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        try:
            link.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                link.putheader(name, value)
            link.endheaders(content)
            answer = link.getresponse()
            status, text = answer.status, answer.read(10**6).decode("utf-8", "replace")
        except (http.client.HTTPException, OSError, ValueError):
            status, text = 0, ""
        finally:
            link.close()
        worst = max(worst, time.perf_counter() - began)
        known[(kind, status)] = known.get((kind, status), 0) + 1
        if kind == "traversal":
            wrong = "the secret outside" in text or "root:" in text or server.token in text or status >= 500
        else:
            wrong = text not in ("", REFUSED) and status != 400
        told += wrong
        if wrong:
            print(f"request {number} {kind}: {method} {path[:80]!r} {headers} gave {status}: {text[:200]!r}")
    for (kind, status), count in sorted(known.items()):
        print(f"{kind:<12} {status or 'no answer':<10} {count}")
    print(f"{asked.requests} requests, {told} told anything; the slowest took {worst:.2f} s")


PATHS = ("/", "/jobs", "/files", "/compose?line=hwloop+program", "/log", "/chips", "/static/page.js",
         "/files/get/w.npy", "/files/view/data/digits.npz", "/compose", "/cost", "/files/send", "/nowhere")  # fmt: skip
OUT = ("../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "..%5csecret.txt", "/etc/passwd", "%2fetc%2fpasswd",
       ".hwloop-web/token", "data/../../secret.txt", "....//secret.txt", "%00", "..;/secret.txt", "\u2025/secret.txt",
       "data/%2e%2e/%2e%2e/secret.txt", ".hwloop-web%2ftoken", "~root/.ssh/id_rsa", "C:%5csecret.txt")  # fmt: skip


def _hostile(rng: random.Random, host: str, token: str) -> tuple[str, str, str, dict[str, str], bytes]:
    """Make a request without a token, from a foreign page, for another host, or for a file outside."""
    kind = rng.choice(("token", "origin", "host", "traversal", "noise"))
    method = rng.choice(("GET", "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "x"))
    path, content = rng.choice(PATHS), bytes(rng.choices(range(256), k=rng.randrange(200)))
    headers = {"Host": host, "Authorization": f"Bearer {token}"}
    noise = "".join(rng.choices(string.ascii_letters + string.digits + "-_.~;=%&?+/", k=rng.randrange(1, 80)))
    if kind == "token":
        wrong = rng.choice(("", noise, token[:-1], token + "x", token.swapcase(), token[1:]))
        headers = {"Host": host, "Cookie": f"hwloop-{host[-4:]}={wrong}"} if rng.random() < 0.5 else {"Host": host}
        if rng.random() < 0.5:
            headers["Authorization"] = rng.choice(("Bearer ", "bearer ", "Basic ", "")) + wrong
        path = f"{path}{'&' if '?' in path else '?'}token={quote(wrong)}" if rng.random() < 0.3 else path
    elif kind == "origin":
        headers["Origin"] = rng.choice(
            ("http://evil.example", "null", f"http://{host}.evil", f"http://{host}/x", f"ftp://{host}", noise)
        )
    elif kind == "host":
        headers["Host"] = rng.choice(
            ("evil.example", f"evil.example:{host[-4:]}", f"{host}.evil", f"x@{host}", "127.0.0.1", noise)
        )
    elif kind == "traversal":
        method = "GET"
        page = rng.choice(("get", "view", "table", "report", "picture", "form"))
        path = f"/files/{page}/{quote(rng.choice(OUT), safe='%/')}"
        path = rng.choice(
            (path, f"/static/{quote(rng.choice(OUT), safe='%/')}", f"/jobs/{quote(rng.choice(OUT), safe='%/')}")
        )
    else:
        path, headers = f"/{quote(noise, safe='%?&=/;')}", {"Host": host, "X-Noise": noise}
    if content:
        headers["Content-Length"] = str(len(content))
    return kind, method, path, headers, content


PARTS: Mapping[str, Callable[[Server, argparse.Namespace], None]] = {
    "fuzz": fuzz, "answers": answers, "overhead": overhead, "watchers": watchers, "recipes": recipes,
}  # fmt: skip


def main() -> None:
    """Run the parts."""
    import numpy as np

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=sorted(PARTS), default=list(PARTS))
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--recipe", nargs="*", help="Only these experiments of the first page.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asked.data = Path(folder) / "lab"
        os.environ["HWLOOP_LEDGER"] = str(Path(folder) / "ledger.sqlite")
        with serving(asked.data) as server:
            rng = np.random.default_rng(0)
            np.save(asked.data / "w.npy", rng.standard_normal((12, 16)))
            np.save(asked.data / "big.npy", rng.standard_normal((512, 512)).astype(np.float32))
            for name in asked.only:
                print(f"-- {name}", flush=True)
                PARTS[name](server, asked)


if __name__ == "__main__":
    main()
