"""Pages of files: lists with headlines, one file's report, several side by side, and downloads."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import anyio.to_thread
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from hwloop.errors import BadInputError, HwloopError
from hwloop.typing import Json
from hwloop.web.folder import Entry
from hwloop.web.reading import quietly
from hwloop.web.script import command_line
from hwloop.web.settings import SETTINGS
from hwloop.web.site import Site, site_of

WRITTEN = (".h5", ".hdf5", ".json")
"""Endings of the files that hwloop writes and has pages for."""
FIGURES = ("png", "svg", "pdf")


async def files(request: Request) -> Response:
    """List the files of the data folder, with headlines of those that are known; the others follow."""
    site = site_of(request)
    entries = site.folder.files()
    kind, text = request.query_params.get("kind", ""), request.query_params.get("text", "").lower()
    busy = {job.asked.out for job in site.queue.open_jobs()}  # which are read when they are whole
    asked = [one for one in entries[:60] if _is_written(one.name) and one.name not in busy]
    unknown = [one for one in asked if _key(one) not in site.known]
    if unknown:
        tasks: set[asyncio.Task[None]] = request.app.state.tasks
        if not tasks:  # else somebody has asked already
            work = asyncio.create_task(_learn(site, unknown))
            tasks.add(work)
            work.add_done_callback(tasks.discard)
        await asyncio.wait(tasks, timeout=SETTINGS.answer)
    rows = [(one, site.known.get(_key(one), {})) for one in entries]
    kinds = sorted({str(told["kind"]) for _, told in rows if told.get("kind")})
    rows = [
        (one, told)
        for one, told in rows
        if (not kind or told.get("kind") == kind) and text in f"{one.name} {told.get('title', '')}".lower()
    ]
    waiting = any(_key(one) not in site.known for one in asked)
    return site.page(
        "files.html",
        {
            "rows": rows,
            "kinds": kinds,
            "kind": kind,
            "text": text,
            "waiting": waiting,
            "busy": busy,
        },
    )


def _is_written(name: str) -> bool:
    return name.lower().endswith(WRITTEN)


def _key(entry: Entry) -> str:
    return f"{entry.name}\n{entry.size}\n{entry.written}"


async def _learn(site: Site, entries: list[Entry]) -> None:
    """Find out the headlines of files, one after the other."""
    for entry in entries:
        if _key(entry) in site.known:
            continue
        try:
            told = await site.files.ask("page", {"path": entry.name})
            found: Mapping[str, object] = _headline(told) if isinstance(told, dict) else {}
        except HwloopError as error:
            found = {"kind": "", "title": "", "verdict": "", "problem": str(error), "chip": ""}
        if len(site.known) > 4 * SETTINGS.files:
            site.known.clear()
        site.known[_key(entry)] = found


def _headline(told: Mapping[str, Json]) -> Mapping[str, object]:
    facts, provenance = told.get("facts"), told.get("provenance")
    pairs = [one for part in (facts, provenance) if isinstance(part, list) for one in part if isinstance(one, list)]
    chip = next((str(one[1]) for one in pairs if one[0] in ("backend", "chip")), "")
    return {"kind": told["kind"], "title": told["title"], "verdict": told["verdict"], "chip": chip, "problem": ""}


async def view(request: Request) -> Response:
    """Show what a file says: the report of it."""
    site, name = site_of(request), request.path_params["name"]
    path = site.folder.file(name)
    told = await quietly(site.files, "page", {"path": name}) if _is_written(name) else None
    problem = ""
    if told is None and _is_written(name):
        try:
            told = await site.files.ask("page", {"path": name})
        except BadInputError as error:
            problem = str(error)
    jobs = [job for job in reversed(site.queue.jobs.all()) if job.asked.out == name]
    return site.page(
        "file.html",
        {
            "name": name,
            "told": told,
            "size": path.stat().st_size,
            "problem": problem,
            "jobs": jobs[:5],
        },
    )


async def together(request: Request) -> Response:
    """Show several files side by side."""
    site = site_of(request)
    names = list(dict.fromkeys(request.query_params.getlist("name")))
    if not 2 <= len(names) <= SETTINGS.together:
        raise BadInputError(f"tick two to {SETTINGS.together} files to see them side by side")
    pages = [(name, await site.files.ask("page", {"path": name})) for name in names if site.folder.file(name)]
    facts: dict[str, list[str]] = {}
    for at, (_, told) in enumerate(pages):
        listed = told.get("facts") if isinstance(told, dict) else None
        for fact in listed if isinstance(listed, list) else []:
            if isinstance(fact, list):
                facts.setdefault(str(fact[0]), [""] * len(pages))[at] = str(fact[1])
    return site.page(
        "together.html",
        {
            "pages": pages,
            "facts": facts,
        },
    )


async def form(request: Request) -> Response:
    """Open the command that made a file as a form: as a job of this page has it, else as the file says."""
    site, name = site_of(request), request.path_params["name"]
    path = site.folder.file(name)
    made = [job for job in site.queue.jobs.all() if job.asked.out == name and job.asked.command != "resume"]
    if made:
        words = list(made[-1].asked.words)
    else:
        told = await site.files.ask("words", {"path": name})
        words = [str(one) for one in told] if isinstance(told, list) else []
    fresh = site.folder.fresh(path.stem.rstrip("0123456789").rstrip("-") or "again", path.suffix)
    words = [fresh if before == "--out" else word for before, word in zip(["", *words], words, strict=False)]
    if "--out" not in words:
        words += ["--out", fresh]
    line = command_line([word for word in words if word != "--force"])
    return RedirectResponse(f"/compose?line={quote(line)}", 303)


# ---- downloads ---------------------------------------------------------------------------------------------------


async def get(request: Request) -> Response:
    """Send a file as it is; a browser stores it and never shows it."""
    site, name = site_of(request), request.path_params["name"]
    path = site.folder.file(name)
    site.note(request, "download", name)
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


async def table(request: Request) -> Response:
    """Send the numbers of a file as CSV."""
    return await _made(request, "table", "csv", "text/csv")


async def report(request: Request) -> Response:
    """Send the report of a file as one HTML page."""
    return await _made(request, "report", "html", "application/octet-stream")


async def picture(request: Request) -> Response:
    """Draw a picture of a file; `as` tells the format, and with it whether it is shown or stored."""
    kind = request.query_params.get("as", "")
    if kind and kind not in FIGURES:
        raise BadInputError(f"a figure is {', '.join(FIGURES)}")
    types = {"": "image/png", "png": "image/png", "svg": "application/octet-stream", "pdf": "application/pdf"}
    return await _made(request, "picture", kind or "png", types[kind], request.query_params.get("name", ""))


async def _made(request: Request, what: str, ending: str, media: str, picture: str = "") -> Response:
    """Send what the reader makes of a file; it is kept until the file changes."""
    site, name = site_of(request), request.path_params["name"]
    path = site.folder.file(name)
    told = path.stat()
    mark = hashlib.sha256(f"{name}\n{told.st_size}\n{told.st_mtime_ns}\n{what}\n{picture}".encode()).hexdigest()
    kept = site.folder.hidden / "made"
    kept.mkdir(exist_ok=True)
    out = kept / f"{mark[:40]}.{ending}"
    if not out.exists():
        _make_room(kept)
        beside = kept / f"{secrets.token_hex(8)}.{ending}"
        try:
            await site.files.ask(what, {"path": name, "out": str(beside), "name": picture})
            os.replace(beside, out)
        finally:
            beside.unlink(missing_ok=True)
    shown = what == "picture" and not request.query_params.get("as")
    stem = f"{path.stem}-{picture}" if picture else path.stem
    headers = {"cache-control": "private, max-age=60"} if shown else {}
    return FileResponse(out, media_type=media, filename=None if shown else f"{stem}.{ending}", headers=headers)


def _make_room(folder: Path, most: int = 300) -> None:
    """Delete the oldest of what was made beyond what is kept."""
    old = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime)
    for one in old[:-most]:
        one.unlink(missing_ok=True)


# ---- uploads -----------------------------------------------------------------------------------------------------


async def send(request: Request) -> Response:
    """Take a file into the data folder."""
    site = site_of(request)
    async with request.form(max_files=1, max_fields=5) as posted:
        file = posted.get("file")
        if not isinstance(file, UploadFile) or not file.filename:
            raise BadInputError("choose a file first")
        path = site.folder.new(file.filename)
        await anyio.to_thread.run_sync(_keep, path, file)
    site.note(request, "send", path.name)
    return RedirectResponse("/files", 303)


def _keep(path: Path, file: UploadFile) -> None:
    """Write a file that was sent, whole or not at all, and never over another."""
    beside = path.with_name(f".{secrets.token_hex(8)}.new")
    taken = 0
    try:
        with beside.open("xb") as stream:
            while part := file.file.read(2**20):
                taken += len(part)
                if taken > SETTINGS.upload:
                    raise BadInputError(f"more than {SETTINGS.upload} bytes; put the file into the data folder by hand")
                stream.write(part)
        try:
            os.link(beside, path)
        except FileExistsError:
            raise BadInputError(f"'{path.name}' is there already; give another name") from None
    except OSError as error:
        raise BadInputError(f"'{path.name}' cannot be written: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)
