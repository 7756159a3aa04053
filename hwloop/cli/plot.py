"""`hwloop plot`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from hwloop.cli.common import command, file_option, force_option, given, json_option, print_json
from hwloop.cli.terminal import wrapped
from hwloop.errors import BadInputError


@dataclass(frozen=True)
class PlotOptions:
    """Options of `hwloop plot`."""

    file: str = given(click.Argument(["file"], type=click.Path()))
    picture: str | None = given(click.Argument(["picture"], required=False))
    out: str | None = given(file_option("--out", "Figure to write: FILE.png, .svg or .pdf."))
    listed: bool = given(click.Option(["--list", "listed"], is_flag=True, help="List what can be drawn of FILE."))
    paper: bool = given(click.Option(["--paper"], is_flag=True, help="Size it for one column of a paper."))
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(PlotOptions, "plot", logs=False)
def plot(options: PlotOptions) -> None:
    """Draw one PICTURE of FILE, any file that hwloop writes; the first of its list where PICTURE is left out.

    \b
    Examples:
      # run.h5 is what the example of hwloop program writes
      hwloop plot run.h5 --list
      hwloop plot run.h5 error-vs-step --out fig.pdf
    """  # noqa: D301  click needs the backspace
    from hwloop.pages import page_of

    if options.listed:
        pictures = page_of(options.file).pictures
        if options.as_json:
            print_json({"file": options.file, "pictures": {one.name: one.caption for one in pictures}})
            return
        width = max((len(one.name) for one in pictures), default=0)
        for one in pictures:
            click.echo(click.wrap_text(one.caption, 80, f"{one.name:<{width}}  ", " " * (width + 2)))
        return
    if options.out is None:
        raise BadInputError("say where to draw with --out FIG.pdf (.png, .svg), or what there is to draw with --list")
    from matplotlib.figure import Figure

    from hwloop.files.reading import whole
    from hwloop.plot.style import PAPER, SCREEN, check_figure_path, save_figure

    path = check_figure_path(options.out, options.file, force=options.force)
    page = page_of(options.file)
    name = options.picture or (page.pictures[0].name if page.pictures else "")
    picture = page.picture(name)
    style = PAPER if options.paper else SCREEN
    with style.applied(), whole(options.file, "file", "make it anew"):
        figure = Figure(figsize=style.size, layout="constrained")
        picture.draw(figure.subplots())
        save_figure(figure, path)
    if options.as_json:
        print_json({"file": options.file, "picture": name, "caption": picture.caption, "figure": str(path)})
    else:
        click.echo(wrapped(f"{picture.title}: {picture.caption}"))
        click.echo(f"Figure {path}.")
