import pytest

from omniup.errors import InputError
from omniup.training.labelled import read_labelled


def test_label_maps_lie_beside_photographs(photo_folder):
    found = read_labelled(photo_folder, 3, 32, ignore=9)
    assert found.images.shape == (3, 3, 32, 32)
    assert found.labels.shape == (3, 32, 32)
    assert set(found.labels.unique().tolist()) == {-1, 0, 1}
    bright = found.images.mean(1) > 0.5
    counted = found.labels >= 0
    assert (bright == found.labels.bool())[counted].float().mean() > 0.95


def test_a_missing_label_map_is_refused(tmp_path, photo_folder):
    (tmp_path / "0.png").write_bytes((photo_folder / "0.png").read_bytes())
    with pytest.raises(InputError, match=r"0.labels.png cannot be read \(No such file or directory\)"):
        read_labelled(tmp_path, 3, 32, ignore=None)


def test_a_label_map_of_another_size_is_refused(tmp_path, photo_folder):
    (tmp_path / "0.png").write_bytes((photo_folder / "0.png").read_bytes())
    (tmp_path / "0.labels.png").write_bytes((photo_folder / "1.labels.png").read_bytes())
    with pytest.raises(InputError, match=r"is \[96, 70\]; accepted: the photograph's size, \[70, 96\]"):
        read_labelled(tmp_path, 3, 32, ignore=None)
