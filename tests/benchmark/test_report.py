import re

import pytest
from PIL import Image

from omniup import InputError
from omniup_bench.catalogue import find_task, tasks
from omniup_bench.chinese import chinese
from omniup_bench.methods import Entry
from omniup_bench.quality import measure
from omniup_bench.rankings import rankings
from omniup_bench.records import Results, Speed
from omniup_bench.report import write_report
from support.documents import ROOT

METHODS = ("nearest", "bilinear", "guided_filter")


@pytest.fixture(scope="module")
def results(folders, tmp_path_factory):
    """Quality measured on the small data, and speed made up."""
    found = Results(tmp_path_factory.mktemp("results") / "r.jsonl")
    tasks = [find_task(name) for name in ("probabilities", "depth", "masks")]
    measure(tasks, [Entry.parse(name) for name in METHODS], folders, found, factors=[8, 16])
    add_speed(found)
    return found


@pytest.fixture(scope="module")
def written(results, tmp_path_factory):
    """A page of them, and its plots."""
    return write_report(results, tmp_path_factory.mktemp("docs") / "page.md")


def add_speed(found):
    for side, failure in ((256, None), (512, None), (1024, "time")):
        for method, factor in (("bilinear", 1), ("nearest", 0.5)):
            failed = failure if method == "bilinear" else None
            found.add(
                Speed(
                    method=method,
                    settings={},
                    size=(side, side),
                    grid=(side // 16, side // 16),
                    channels=32,
                    signal_type="features",
                    device="cpu",
                    processor="a processor",
                    versions={"omniup": "0"},
                    stage="whole",
                    seconds=() if failed else (factor * side**2 * 1e-8, factor * side**2 * 2e-8),
                    failure=failed,
                    limit_seconds=60,
                    peak_bytes=4 * 32 * side**2,
                    result_bytes=4 * 32 * side**2,
                    copy_rate=1e10,
                    matmul_rate=1e11,
                )
            )


def cells(page, first):
    """The rows of the table whose header begins with a text, by their first cells."""
    lines = page.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return {row[0]: row for row in rows}


def test_a_page_has_every_score_and_its_plots(results, written):
    page = written[-1]
    text = page.read_text()
    pictures = re.findall(r"!\[[^]]+\]\((pictures/[^)]+)\)", text)
    assert sorted(page.parent / name for name in pictures) == sorted(written[:-1])
    for name in pictures:
        with Image.open(page.parent / name) as picture:
            assert min(picture.size) > 100
    sizes = [(page.parent / name).stat().st_size for name in pictures]
    assert max(sizes) < 60_000

    for ranking in rankings(results.quality):
        if ranking.factor != 16:
            continue
        metric = next(iter(ranking.task.metrics))
        section = text[text.index(f"### {ranking.task.name}:") :]
        table = cells(section, "16×")
        assert list(table)[2:] == list(METHODS)
        for row in ranking.rows:
            value = row.scores.values[metric]
            assert table[row.method][1].startswith(f"{value:.2f}" if value >= 1 else f"{value:.3f}")
    assert "10 px" in text


def test_intervals_and_differences_are_told(written):
    text = written[-1].read_text()
    masks = cells(text[text.index("### masks:") :], "16×")
    header = masks["16×"]
    assert header[1] == "near_accuracy ↑"
    assert re.fullmatch(r"[\d.]+ \([\d.]+ to [\d.]+\)", masks["nearest"][1])
    assert masks["bilinear"][header.index("near_accuracy against bilinear")] == ""
    assert re.fullmatch(
        r"(\*\*)?[+-][\d.]+(\*\*)? \([+-][\d.]+ to [+-][\d.]+\)",
        masks["nearest"][header.index("near_accuracy against bilinear")],
    )
    depth = cells(text[text.index("### depth:") :], "16×")
    assert re.fullmatch(r"[\d.]+", depth["nearest"][1])  # of one image there is no interval


def test_methods_are_ranked(results, written):
    text = written[-1].read_text()
    text = text[text.index("### Ranking") :]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.split("\n\n")[1].splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        [task, f"{n}×"] for task in ("probabilities", "depth", "masks") for n in (8, 16)
    ]
    for ranking, row in zip(rankings(results.quality), rows, strict=True):
        metric = row[2].split()[0]
        values = {each.method: each.scores.values[metric] for each in ranking.rows}
        upwards = row[2].endswith("↑")
        assert row[3] == (max if upwards else min)(values, key=values.get)
        assert row[5] == sorted(values, key=values.get, reverse=upwards)[1]
        assert float(row[7].split()[0].strip("*")) == pytest.approx(values[row[3]] - values[row[5]], abs=0.006)


def test_speed_is_told_with_what_did_not_end(written):
    text = written[-1].read_text()
    assert "copied 10.0 GB/s (read and written) and multiplied matrices at 100 GFLOP/s" in text
    stages = cells(text, "512×512")
    assert stages["bilinear"][1] == "0.004 s (0.003 to 0.005)"
    assert stages["bilinear"][4] == "0.6"  # 3.9 ms, where copying 32 MB, read and written, takes 6.7
    growth = cells(text, "whole, in brackets per pixel")
    assert growth["bilinear"][1:] == ["0.001 s (15 ns)", "0.004 s (15 ns)", "> 60 s"]
    assert growth["nearest"][3] == "0.008 s (8 ns)"


def test_a_page_keeps_what_was_written_around_the_marks(tmp_path):
    page, results = tmp_path / "page.md", Results(tmp_path / "r.jsonl")
    add_speed(results)
    page.write_text("# Ours\n\nadvice\n\n<!-- speed -->old<!-- /speed -->\n\nend\n")
    write_report(results, page)
    once = page.read_text()
    assert once.startswith("# Ours\n\nadvice\n\n<!-- speed -->\n\n### 32 channels, cpu\n\n")
    assert once.endswith("<!-- /speed -->\n\nend\n")
    assert "old" not in once
    write_report(results, page)
    assert page.read_text() == once


@pytest.mark.parametrize("text", ["no marks", "<!-- /quality --><!-- quality -->", "<!-- quality -->" * 2])
def test_pages_without_marks_are_left_alone(results, tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(InputError, match=r"page\.md has no such marks; accepted: a page with one <!-- quality -->"):
        write_report(results, page)
    assert page.read_text() == text
    assert list(tmp_path.iterdir()) == [page]


def test_no_results_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl has no results; accepted: what `omniup bench quality` writes$"):
        write_report(Results(tmp_path / "none.jsonl"), tmp_path / "page.md")


def test_the_chinese_twin_gets_the_same_tables(results, tmp_path):
    page, twin = tmp_path / "page.md", tmp_path / "page.zh.md"
    twin.write_text("# 结果\n\n<!-- quality -->\n<!-- /quality -->\n\n<!-- speed -->\n<!-- /speed -->\n")
    written = write_report(results, page)
    assert written[-2:] == [twin, page]
    english, translated = page.read_text(), twin.read_text()
    numbers = [
        [sorted(re.findall(r"\d+(?:\.\d+)?", line)) for line in text.splitlines()] for text in (english, translated)
    ]
    assert numbers[0][2:] == numbers[1][2:]
    assert "### masks：人工分割" in translated
    words = {
        word for line in translated.splitlines() for word in re.findall(r"(?<![\w`/.-])[a-z]{2,}(?![\w`/.-])", line)
    }
    assert words <= {"bilinear", "bleeding", "cpu", "depth", "flying", "mae", "masks", "miou", "nearest", "ns"} | {
        *("processor", "psnr", "px", "quality", "rmse", "speed", "spurious", "probabilities"),
    }


def test_every_task_is_described_in_chinese():
    for task in tasks().values():
        heading = chinese(f"### {task.name}: {task.summary}")
        described = heading.removeprefix(f"### {task.name}：")
        assert described != heading
        assert not re.search(r"[A-Za-z]+ [a-z]+ [a-z]+", described), heading


def test_the_twin_of_the_document_has_the_tables_of_the_document():
    english, twin = ((ROOT / f"docs/benchmarks{suffix}").read_text("utf-8") for suffix in (".md", ".zh.md"))
    for part in ("quality", "speed"):
        pattern = re.compile(f"<!-- {part} -->(.*)<!-- /{part} -->", re.DOTALL)
        assert pattern.search(twin)[1] == chinese(pattern.search(english)[1])
