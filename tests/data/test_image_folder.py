from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from membrane.core.errors import DataError, SettingError
from membrane.data import ImageFolder
from tests.data.sources import PIXELS, encoded, image_file, image_folder
from tests.data.test_parquet import bomb


def pets(folder: Path) -> ImageFolder:
    source = image_folder(folder)
    assert isinstance(source, ImageFolder)
    return source


def test_pixels_labels_and_classes_come_from_the_folders(tmp_path: Path) -> None:
    train, test = pets(tmp_path).load()
    np.testing.assert_array_equal(train.x.numpy(), PIXELS[[0, 2, 1, 3]].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(test.x.numpy(), PIXELS[[4, 5]].transpose(0, 3, 1, 2))
    assert train.y.tolist() == [0, 0, 1, 1]
    assert test.y.tolist() == [0, 1]
    assert train.classes == ("cat", "dog")
    assert train.source == "pets"


@pytest.mark.parametrize("name", ["val", "Validation", "valid"])
def test_a_validation_folder_stands_in_for_a_test_folder(tmp_path: Path, name: str) -> None:
    source = pets(tmp_path)
    expected = source.load().test.checksum()
    (tmp_path / "pets" / "test").rename(tmp_path / "pets" / name)
    assert source.load().test.checksum() == expected


def one_folder(folder: Path, n: int = 20) -> ImageFolder:
    for i in range(n):
        image_file(folder / "pets" / ("cat", "dog")[i % 2] / f"{i:02}.png", np.full((3, 3, 3), i, dtype=np.uint8))
    return ImageFolder(str(folder / "pets"))


def test_one_folder_is_split_by_its_seed(tmp_path: Path) -> None:
    train, test = one_folder(tmp_path).load()
    assert (len(train), len(test)) == (16, 4)
    shown = torch.cat([train.x, test.x])[:, 0, 0, 0]
    assert sorted(shown.tolist()) == list(range(20))
    assert torch.equal(shown % 2, torch.cat([train.y, test.y]))
    other = ImageFolder(str(tmp_path / "pets"), test=0.5, seed=1).load()
    assert len(other.test) == 10
    assert other.test.x[:4].tolist() != test.x.tolist()


def test_the_split_is_pinned(tmp_path: Path) -> None:
    """Stored trainings are found by it."""
    assert one_folder(tmp_path).load().test.x[:, 0, 0, 0].tolist() == [9, 8, 18, 19]


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP", "TIFF"])
def test_lossless_formats_come_back_pixel_for_pixel(tmp_path: Path, form: str) -> None:
    for i in range(4):
        path = image_file(tmp_path / "pets" / "cat" / f"{i}.{form.lower()}", PIXELS[0])
        Image.fromarray(PIXELS[0]).save(path, form, **({"lossless": True} if form == "WEBP" else {}))
    train, _ = ImageFolder(str(tmp_path / "pets")).load()
    np.testing.assert_array_equal(train.x[0].numpy(), PIXELS[0].transpose(2, 0, 1))


def test_grey_images_have_one_channel_if_asked_for(tmp_path: Path) -> None:
    grey = PIXELS[..., 0]
    for i in range(4):
        image_file(tmp_path / "pets" / "cat" / f"{i}.png", grey[0])
    train, _ = ImageFolder(str(tmp_path / "pets"), colour="grey").load()
    np.testing.assert_array_equal(train.x.numpy(), np.broadcast_to(grey[0], (3, 1, 5, 4)))
    train, _ = ImageFolder(str(tmp_path / "pets")).load()
    assert train.x.shape == (3, 3, 5, 4)


def test_size_scales_the_shorter_side_and_keeps_the_middle(tmp_path: Path) -> None:
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = 200
    tall = wide.transpose(1, 0, 2)
    image_file(tmp_path / "pets" / "cat" / "0.png", wide)
    image_file(tmp_path / "pets" / "cat" / "1.png", np.ascontiguousarray(tall))
    image_file(tmp_path / "pets" / "cat" / "2.png", np.full((10, 10, 3), 200, dtype=np.uint8))
    train, test = ImageFolder(str(tmp_path / "pets"), size=10).load()
    assert torch.cat([train.x, test.x]).tolist() == np.full((3, 3, 10, 10), 200).tolist()
    assert ImageFolder(str(tmp_path / "pets"), size=4).load().train.x.shape == (2, 3, 4, 4)


def test_different_sizes_are_refused_without_a_size(tmp_path: Path) -> None:
    source = pets(tmp_path)
    image_file(tmp_path / "pets" / "train" / "cat" / "zz.png", PIXELS[0][:3])
    with pytest.raises(DataError, match=r"train/cat/zz\.png: the image is 4x3, the ones before 4x5\. Set size"):
        source.load()


def test_everything_that_is_broken_is_listed_at_once(tmp_path: Path) -> None:
    source = pets(tmp_path)
    train = tmp_path / "pets" / "train"
    (train / "cat" / "cut.png").write_bytes(encoded(PIXELS[0])[:40])
    (train / "cat" / "empty.jpg").write_bytes(b"")
    (train / "dog" / "text.webp").write_text("no image")
    (train / "dog" / "bomb.png").write_bytes(bomb(60_000, 60_000))
    (train / "dog" / "large.png").write_bytes(bomb(5_000, 5_000))
    (train / "dog" / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 4\n")
    (train / "dog" / "deep.png").write_bytes(encoded(np.zeros((5, 4), dtype=np.uint16)))
    with pytest.raises(DataError) as caught:
        source.load()
    said = dict(line.split(": ", 1) for line in caught.value.mistakes)
    assert set(said) == {
        f"train/{name}"
        for name in (
            "cat/cut.png",
            "cat/empty.jpg",
            "dog/text.webp",
            "dog/bomb.png",
            "dog/large.png",
            "dog/script.png",
            "dog/deep.png",
        )
    }
    assert "bomb" in said["train/dog/bomb.png"]
    assert "too large" in said["train/dog/large.png"]
    assert "cannot identify" in said["train/dog/script.png"]
    assert "8 bits" in said["train/dog/deep.png"]


def test_a_long_list_is_cut_with_the_number_of_the_rest(tmp_path: Path) -> None:
    source = pets(tmp_path)
    for i in range(30):
        (tmp_path / "pets" / "train" / "cat" / f"x{i}.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"\.\.\. and 10 more"):
        source.load()


def test_hidden_files_are_left_out_and_counted(tmp_path: Path) -> None:
    source = pets(tmp_path)
    expected = source.load().train.checksum()
    for name in (".DS_Store", "._0.png", "Thumbs.db"):
        (tmp_path / "pets" / "train" / "cat" / name).write_text("x")
    (tmp_path / "pets" / "train" / ".git").mkdir()
    train, _ = source.load()
    assert train.checksum() == expected
    assert train.source == "pets (files left out: 3 hidden)"


def test_files_that_are_no_images_are_refused_or_skipped_and_counted(tmp_path: Path) -> None:
    source = pets(tmp_path)
    expected = source.load().train.checksum()
    (tmp_path / "pets" / "train" / "cat" / "notes.txt").write_text("x")
    image_file(tmp_path / "pets" / "train" / "stray.png", PIXELS[0])
    with pytest.raises(
        DataError, match=r"2 files in .*train are no images of a class, the first cat/notes\.txt, stray"
    ):
        source.load()
    train, _ = ImageFolder(source.path, others="skip").load()
    assert train.checksum() == expected
    assert train.source == "pets (files left out: 2 no images of a class)"


def test_folders_inside_a_class_belong_to_it_and_links_to_folders_do_not(tmp_path: Path) -> None:
    source = pets(tmp_path)
    cats = tmp_path / "pets" / "train" / "cat"
    image_file(cats / "more" / "9.png", PIXELS[5])
    (cats / "circle").symlink_to(tmp_path)
    train, _ = source.load()
    assert train.y.tolist() == [0, 0, 0, 1, 1]


def test_missing_parts_are_named_together(tmp_path: Path) -> None:
    source = pets(tmp_path)
    (tmp_path / "pets" / "train" / "elk").mkdir()
    image_file(tmp_path / "pets" / "test" / "fox" / "0.png", PIXELS[0])
    with pytest.raises(DataError, match=r"(?s)2 mistakes.*elk holds no images.*classes \['fox'\] that the"):
        source.load()


def test_folders_that_are_no_data_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        ImageFolder(str(tmp_path / "nowhere")).load()
    with pytest.raises(DataError, match="has no class folders"):
        ImageFolder(str(tmp_path)).load()
    image_file(tmp_path / "pets" / "cat" / "0.png", PIXELS[0])
    with pytest.raises(DataError, match="holds one image"):
        ImageFolder(str(tmp_path / "pets")).load()
    image_file(tmp_path / "half" / "train" / "cat" / "0.png", PIXELS[0])
    with pytest.raises(DataError, match=r"has a folder train and none called test"):
        ImageFolder(str(tmp_path / "half")).load()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": 0}, "size is 0"),
        ({"size": 10**6}, "size is 1000000"),
        ({"test": 0.0}, "test is 0"),
        ({"test": 1.0}, "test is 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        ImageFolder("x", **settings)  # type: ignore[arg-type]
