"""Write a page of results: tables and plots, between the marks of a page that has them, or on a page of their own.

Where a page NAME.md has a Chinese twin, NAME.zh.md, the twin gets the same tables in Chinese (`chinese.py`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from omniup.errors import InputError
from omniup.files import Inputs, atomic_write, check_output, locked, sweep, together
from omniup.files.atomic import made_folder
from omniup_bench import plots
from omniup_bench.chinese import chinese
from omniup_bench.consistency import Consistency
from omniup_bench.rankings import Ranking, rankings
from omniup_bench.records import Quality, Results, Speed
from omniup_bench.tables import leaders, middle_factor, quality_tables, speed_tables, widths

PICTURES = "pictures"
"""The folder for plots, beside the page."""

_PAGE = "# Benchmarks\n\n<!-- quality -->\n<!-- /quality -->\n\n<!-- speed -->\n<!-- /speed -->\n"


def write_report(results: Results, page: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write tables and plots of results.

    Where the page exists, what lies between `<!-- quality -->` and `<!-- /quality -->`, and between `<!-- speed -->`
    and `<!-- /speed -->`, is replaced, and the rest is kept. A part without results is kept too. So is it in the page's
    Chinese twin, NAME.zh.md, where there is one.

    Args:
        results: the measurements.
        page: a Markdown file. Plots go to the folder `pictures` beside it.
        overwrite: replace plots that are there and that the page does not show.

    Returns:
        The files that were written, the page last and its twin before it.

    Raises:
        InputError: there are no results, the page has no such marks, a plot is there that it does not show, or a file
            cannot be written.
    """
    page = Path(page)
    if not (results.quality or results.speed):
        raise InputError(str(results.path), "has no results", "what `omniup bench quality` writes")
    inputs = Inputs([results.path])
    inputs.check(page)
    folder = page.parent / PICTURES
    with made_folder(folder), locked(page):
        for place in (page.parent, folder):
            sweep(place)
        twin = page.with_suffix(f".zh{page.suffix}")
        if twin.exists():
            inputs.check(twin)
        before = {path: _read(path) for path in (twin, page) if path == page or path.exists()}
        parts = [part for part, records in (("quality", results.quality), ("speed", results.speed)) if records]
        for path, part in itertools.product(before, parts):  # before the plots are drawn, which takes seconds
            _check_marks(before[path], part, path)
        made, drawn = _made(results)
        texts = {}
        for path, text in before.items():
            own = made if path == page else {part: chinese(content) for part, content in made.items()}
            texts[path] = _filled(text, own)
        plots = {folder / f"bench-{name}.png": content for name, content in drawn.items()}
        for path in plots:  # the page is the record of its plots
            is_own = f"]({PICTURES}/{path.name})" in before[page]
            check_output(path, inputs, overwrite=overwrite or is_own)
        with together():
            for path, content in ({path: text.encode() for path, text in texts.items()} | plots).items():
                with atomic_write(path) as file:
                    file.write(content)
    return [*plots, *texts]


def _made(results: Results) -> tuple[dict[str, str], dict[str, bytes]]:
    """Lay out the results there are: the text of each part of a page, and the plots by their names."""
    drawn: dict[str, bytes] = {}
    made = {}
    if results.quality:
        made["quality"] = _quality(results.quality, drawn)
    if results.speed:
        made["speed"] = _speed(results.speed, drawn)
    return made, drawn


def _filled(text: str, made: Mapping[str, str]) -> str:
    """Put texts between the marks of a page's parts."""
    for part, content in made.items():
        text = _put(text, part, content)
    return text


def _quality(records: Sequence[Quality], drawn: dict[str, bytes]) -> str:
    """Lay out quality; adds the plots to `drawn`."""
    tasks = [list(group) for _, group in itertools.groupby(rankings(records), key=lambda each: each.task.name)]
    parts = ["### Ranking", leaders(itertools.chain(*tasks)), *(quality_tables(each) for each in tasks)]
    plotted = [each for each in tasks if not isinstance(each[0].task, Consistency)] or tasks  # with ground truth
    drawn["time"] = plots.quality_against_cost(plotted, "seconds")
    parts.append(_picture("time", "Quality against time"))
    if any(record.peak_bytes is not None for record in records):
        drawn["memory"] = plots.quality_against_cost(plotted, "memory")
        parts.append(_picture("memory", "Quality against memory"))
    several = [each for each in plotted if len(each) > 1]
    if several:
        drawn["factor"] = plots.quality_against_factor(several)
        parts.append(_picture("factor", "Quality against the upsampling factor"))
    for each in tasks:
        ranking: Ranking = middle_factor(each)
        if widths(ranking):
            name = re.sub(r"[^\w-]+", "-", f"{ranking.task.name}-widths")  # not all systems allow colons in names
            drawn[name] = plots.quality_against_width(ranking)
            parts.append(_picture(name, f"{ranking.task.name}: quality against the distance from boundaries"))
    return "\n\n".join(parts)


def _speed(records: Sequence[Speed], drawn: dict[str, bytes]) -> str:
    """Lay out speed; adds the plots to `drawn`."""
    parts = [speed_tables(records)]
    for device, channels in sorted({(record.device, record.channels) for record in records}):
        ours = [record for record in records if (record.device, record.channels) == (device, channels)]
        if len({record.size for record in ours if record.seconds}) > 1:
            name = f"growth-{device}-{channels}"
            drawn[name] = plots.growth(ours)
            parts.append(_picture(name, f"Growth with the image's size, {channels} channels, {device}"))
    return "\n\n".join(parts)


def _picture(name: str, title: str) -> str:
    return f"![{title}]({PICTURES}/bench-{name}.png)"


def _read(page: Path) -> str:
    if not page.exists():
        return _PAGE
    try:
        return page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(page), "cannot be read ({reason})", "a Markdown page", reason=error) from error


def _marks(part: str) -> tuple[str, str]:
    return f"<!-- {part} -->", f"<!-- /{part} -->"


def _check_marks(text: str, part: str, page: Path) -> None:
    begin, end = _marks(part)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        accepted = "a page with one {begin} and, after it, one {end}, or no page"
        raise InputError(str(page), "has no such marks", accepted, begin=begin, end=end)


def _put(text: str, part: str, content: str) -> str:
    """Replace what lies between the marks of a part."""
    begin, end = _marks(part)
    before, after = text[: text.index(begin)], text[text.index(end) :]
    return f"{before}{begin}\n\n{content}\n\n{after}"
