import json
import logging

import numpy as np
import pytest
import torch

from omniup.errors import InputError
from omniup.training.restoration import DataSettings, Photograph, Squares, cut, find_photographs, gather


def settings(**fields):
    return DataSettings(**({"images": ["sample:coffee"], "image_size": 32} | fields))


def rows(photo_folder, tmp_path, kind):
    """A table of two photographs, one with a prompt, below the folder that it lies in."""
    for index in range(2):
        (tmp_path / f"{index}.png").write_bytes((photo_folder / f"{index}.png").read_bytes())
    path = tmp_path / f"list.{kind}"
    table = [{"path": "0.png", "prompt": 'a "cat", asleep'}, {"path": "1.png", "prompt": ""}]
    if kind == "csv":
        path.write_text('path,prompt\n0.png,"a ""cat"", asleep"\n1.png,\n')
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(table), path)
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_list_has_paths_and_prompts(photo_folder, tmp_path, kind):
    found = find_photographs(settings(list=rows(photo_folder, tmp_path, kind)))
    expected = [("sample:coffee", ""), (f"{tmp_path}/0.png", 'a "cat", asleep'), (f"{tmp_path}/1.png", "")]
    assert [tuple(photograph) for photograph in found] == expected


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("list.txt", "0.png", "has another suffix; accepted: a table as .csv, .jsonl, .parquet with a column path"),
        ("list.csv", "file\n0.png\n", "has no path in row 1"),
        ("list.csv", "path\n", "has no rows"),
        ("list.jsonl", "[1]", "cannot be read"),
        ("list.jsonl", '{"path": 3}', "has no path in row 1"),
        ("list.parquet", "PAR1", "cannot be read"),
    ],
)
def test_a_list_that_is_none_is_refused(name, text, said, tmp_path):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        find_photographs(settings(list=tmp_path / name))


def test_a_broken_photograph_is_told_once_and_another_takes_its_place(photo_folder, tmp_path, caplog):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    photographs = [Photograph(str(tmp_path / "broken.png"), "nothing"), Photograph(f"{photo_folder}/2.png", "noise")]
    squares = Squares(photographs, settings(), seed=0)
    with caplog.at_level(logging.WARNING):
        found = [squares[position] for position in range(8)]
    assert {prompt for _, prompt in found} == {"noise"}
    assert [record.message.endswith("; another takes its place") for record in caplog.records] == [True]
    assert all(torch.equal(Squares(photographs, settings(), seed=0)[p][0], found[p][0]) for p in range(8))


def test_where_nothing_can_be_read_it_ends(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="cannot be read, 16 photographs in a row"):
        Squares([Photograph(str(tmp_path / "broken.png"))], settings(), seed=0)[0]


def test_squares_keep_what_they_should():
    """The image tells, at each pixel, where it is: so the square tells what it shows."""
    height, width = 80, 120
    places = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    image = torch.cat([places, places[:1] * 0])[None] / 128  # [1, 3, H, W]
    wanted = settings(image_size=16, keep=[0.5, 0.8])
    spans, mirrored = [], 0
    for seed in range(200):
        square = cut(image, wanted, np.random.default_rng(seed)) * 128
        assert square.shape == (3, 16, 16)
        along = square[1, 8, 2:14].diff()
        mirrored += int(along.mean() < 0)
        spans.append(abs(float(along.mean())) * 16)  # pixels that it spans
        assert square[0, :, 8].diff()[2:-2].min() > 0  # never upside down
    assert 0.5 * height - 1 < min(spans) < 0.53 * height and 0.77 * height < max(spans) < 0.8 * height + 1
    assert 70 < mirrored < 130


def test_turns_are_by_quarters():
    image = torch.rand(1, 3, 24, 24)
    whole = settings(image_size=24, keep=[1, 1], flip=0, rotate=1)
    turned = [cut(image, whole, np.random.default_rng(seed)) for seed in range(30)]
    kinds = [next(k for k in range(4) if torch.equal(square, image[0].rot90(k, (1, 2)))) for square in turned]
    assert set(kinds) == {1, 2, 3}


def test_prompts_are_left_out_as_often_as_told(photo_folder):
    squares = Squares([Photograph(f"{photo_folder}/2.png", "noise")], settings(empty_prompt=0.3), seed=0)
    left_out = sum(squares[position][1] == "" for position in range(300))
    assert 0.3 * 300 - 25 < left_out < 0.3 * 300 + 25


def test_a_batch_has_a_prompt_for_each_image():
    images, prompts = gather([(torch.zeros(3, 8, 8), "a"), (torch.ones(3, 8, 8), "")])
    assert (images.shape, prompts) == ((2, 3, 8, 8), ["a", ""])
