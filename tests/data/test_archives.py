from __future__ import annotations

import contextlib
import gzip
import io
import random
import shlex
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat

from membrane.core.errors import DataError
from membrane.data import (
    CIFAR10,
    CIFAR100,
    CINIC10,
    SOURCES,
    SVHN,
    Location30,
    Purchase100,
    Source,
    Splits,
    Texas100,
    TinyImageNet,
)
from membrane.data.archives.archive import Archive, Original
from membrane.data.archives.members import Bounds, tar_members, zip_members
from tests.data import archives
from tests.data.archives import encoded, noise, tar, trusted, zipped
from tests.data.sources import ROWS
from tests.data.test_parquet import bomb

ARCHIVES = [name for name in SOURCES if issubclass(SOURCES.entry(name), Archive)]
Load = Callable[[Source], Splits]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """What the source makes of its files once they count as the published ones."""
    return lambda source: trusted(source, monkeypatch).load()


def assert_pixels(x: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(x.numpy(), expected.transpose(0, 3, 1, 2))


def test_cifar10_is_read_batch_by_batch(tmp_path: Path, load: Load) -> None:
    train, test = load(CIFAR10(archives.cifar10(tmp_path)))
    assert_pixels(train.x, np.concatenate([noise(2, 32, i) for i in range(1, 6)]))
    assert_pixels(test.x, noise(3, 32, 6))
    assert train.y.tolist() == [1, 0, 2, 0, 0, 0, 1, 0, 2, 0]
    assert test.y.tolist() == [2, 1, 0]
    assert train.classes == ("airplane", "automobile", "bird")


def test_cifar100_has_fine_and_coarse_labels(tmp_path: Path, load: Load) -> None:
    path = archives.cifar100(tmp_path)
    fine, coarse = load(CIFAR100(path)), load(CIFAR100(path, labels="coarse"))
    assert (fine.train.y.tolist(), fine.test.y.tolist()) == ([1, 2, 0], [2, 0])
    assert (coarse.train.y.tolist(), coarse.test.y.tolist()) == ([0, 1, 0], [1, 0])
    assert (fine.train.classes, coarse.train.classes) == (("ray", "shark", "rose"), ("fish", "flowers"))
    assert_pixels(fine.train.x, noise(3, 32, 0))
    assert torch.equal(fine.test.x, coarse.test.x)


def test_svhn_calls_ten_zero(tmp_path: Path, load: Load) -> None:
    train, test = load(SVHN(archives.svhn(tmp_path)))
    assert_pixels(train.x, noise(4, 32, 4))
    assert_pixels(test.x, noise(2, 32, 2))
    assert (train.y.tolist(), test.y.tolist()) == ([1, 0, 5, 9], [0, 2])


def test_tiny_imagenet_is_numbered_by_wordnet_id_and_tested_on_its_validation_split(tmp_path: Path, load: Load) -> None:
    train, test = load(TinyImageNet(archives.tiny_imagenet(tmp_path)))
    assert train.classes == ("goldfish", "bullfrog")
    assert (train.y.tolist(), test.y.tolist()) == ([1, 1, 0], [0, 1])
    expected = [Image.open(io.BytesIO(encoded(one, "JPEG"))).convert("RGB") for one in noise(6, 64)]
    assert_pixels(torch.cat([train.x, test.x]), np.stack([np.asarray(one) for one in expected[:5]]))
    assert load(TinyImageNet(str(tmp_path), size=32)).train.x.shape == (3, 3, 32, 32)


def test_cinic10_can_train_on_its_validation_split(tmp_path: Path, load: Load) -> None:
    train, test = load(CINIC10(archives.cinic(tmp_path)))
    assert_pixels(train.x, noise(6, 32)[[0, 3]])
    assert_pixels(test.x, noise(6, 32)[[2, 4]])
    assert (train.y.tolist(), test.y.tolist()) == ([3, 0], [8, 3])
    assert load(CINIC10(str(tmp_path), valid="train")).train.y.tolist() == [3, 5, 0, 3]


@pytest.mark.parametrize(
    ("kind", "build"),
    [(Location30, archives.location), (Purchase100, archives.purchase), (Texas100, archives.texas)],
)
def test_records_come_with_their_labels_in_a_random_split(
    tmp_path: Path, load: Load, kind: type[Location30], build: Callable[[Path], str]
) -> None:
    train, test = load(kind(build(tmp_path), test=0.4))
    assert (len(train), len(test)) == (3, 2)
    assert train.classes == ("1", "2", "3")
    assert train.x.dtype == torch.uint8
    rows = {(*x.tolist(), int(y)) for part in (train, test) for x, y in zip(part.x, part.y, strict=True)}
    assert rows == {(0, 1, 1, 1), (1, 0, 0, 0), (0, 0, 0, 2), (1, 1, 1, 0), (0, 0, 1, 1)}
    assert load(kind(str(tmp_path), test=0.4, seed=5)).test.x.tolist() != test.x.tolist()


@pytest.mark.parametrize("name", ARCHIVES)
def test_another_file_than_the_published_one_is_not_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not the published file: its digest is .*again with `curl -L --fail"):
        ROWS[name](tmp_path).load()


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_missing_file_comes_with_the_command_that_downloads_it(name: str, tmp_path: Path) -> None:
    source = SOURCES.make({"name": name, "path": str(tmp_path / "my data")})
    assert isinstance(source, Archive)
    missing = source.missing()
    assert len(missing) == len(source.originals)
    for original, sentence in zip(source.originals, missing, strict=True):
        place = tmp_path / "my data" / original.file
        command = shlex.split(sentence.split("`")[1])
        assert command == ["curl", "-L", "--fail", "--create-dirs", "-o", str(place), original.url]
    with pytest.raises(DataError, match="Download it with"):
        source.load()


@pytest.mark.parametrize("name", ARCHIVES)
def test_known_digests_have_the_length_of_their_kind(name: str) -> None:
    source = SOURCES.make({"name": name, "path": "x"})
    assert isinstance(source, Archive)
    for original in source.originals:
        kind, _, digits = original.digest.partition(":")
        assert len(bytes.fromhex(digits)) == {"md5": 16, "sha256": 32, "git": 20}[kind]


def test_digests_are_those_of_the_common_programs(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello\n")
    with (tmp_path / "a").open("rb") as content:
        digests = [Original("a", "u", f"{kind}:").digest_of(content) for kind in ("md5", "sha256", "git")]
    assert digests == [
        "md5:b1946ac92492d2347c6235b4d2611184",  # md5sum
        "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",  # sha256sum
        "git:ce013625030ba8dba906f756967f9e9ca394464a",  # git hash-object
    ]


@pytest.mark.parametrize("name", ARCHIVES)
def test_damaged_files_raise_nothing_but_our_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if their digest were right."""
    source = ROWS[name](tmp_path)
    assert isinstance(source, Archive)
    file = Path(source.path) / source.originals[0].file if Path(source.path).is_dir() else Path(source.path)
    whole, clock = file.read_bytes(), random.Random(0)
    broken = [whole[: len(whole) * part // 7] for part in range(7)]
    for _ in range(6):
        flipped = bytearray(whole)
        flipped[clock.randrange(len(whole))] ^= 1 << clock.randrange(8)
        broken.append(bytes(flipped))
    for i, content in enumerate(broken):
        file.write_bytes(content)
        with monkeypatch.context() as patch:
            try:
                trusted(source, patch).load()
            except DataError:
                continue
        assert i >= 7, "a truncated file was read"


BOUNDS = Bounds(member=10_000, total=30_000, members=4)


def read_tar(content: bytes, bounds: Bounds = BOUNDS) -> dict[str, bytes]:
    return {name: stream.read() for name, stream in tar_members(io.BytesIO(content), bounds)}


def tarred(*members: tarfile.TarInfo, content: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return buffer.getvalue()


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def test_files_of_a_tar_come_in_order_without_folders() -> None:
    content = tarred(member("a", kind=tarfile.DIRTYPE), member("./a/b", 3), member("c", 2), content=b"xyz")
    assert read_tar(content) == {"a/b": b"xyz", "c": b"xy"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tarred(member("../../etc/passwd")), "points outside"),
        (tarred(member("a/../../b")), "points outside"),
        (tarred(member("/etc/passwd")), "points outside"),
        (tarred(member("C:\\a")), "points outside"),
        (tarred(member("a", kind=tarfile.SYMTYPE, link="/etc/passwd")), "is no plain file"),
        (tarred(member("a", kind=tarfile.LNKTYPE, link="b")), "is no plain file"),
        (tarred(member("a", kind=tarfile.FIFOTYPE)), "is no plain file"),
        (tarred(member("a", kind=tarfile.CHRTYPE)), "is no plain file"),
        (tarred(member("a"), member("./a")), "holds 'a' twice"),
        (tarred(*(member(name) for name in "abcde")), "more than 4 files"),
        (tarred(member("a", 10_001), content=bytes(10_001)), "has 10,001 bytes, and at most 10,000"),
    ],
)
def test_a_tar_that_is_no_data_set_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_tar(content)


def test_a_tar_bomb_is_not_unpacked() -> None:
    bomb_of_zeros = gzip.compress(tarred_plain("a", 9_000) + bytes(50_000_000))
    assert len(bomb_of_zeros) < 60_000
    assert read_tar(bomb_of_zeros) == {"a": bytes(9_000)}, "what comes after the end is not looked at"
    many = gzip.compress(b"".join(tarred_plain(name, 9_000)[:-1024] for name in "abcd"))
    with pytest.raises(DataError, match="unpacks to more than 30,000 bytes"):
        read_tar(many)


def tarred_plain(name: str, size: int) -> bytes:
    padded = bytes(-(-size // 512) * 512)
    return member(name, size).tobuf() + padded + bytes(1024)


def test_a_tar_that_lies_about_a_size_is_not_read_further() -> None:
    huge = gzip.compress(member("a", 8 * 2**30).tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(DataError, match="at most 10,000"):
        read_tar(huge)
    cut = gzip.compress(member("a", 9_000).tobuf() + bytes(1024))
    with pytest.raises(tarfile.ReadError):
        read_tar(cut)


def test_a_sparse_file_is_refused() -> None:
    header = bytearray(member("a", 0, tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    header[386:398], header[398:410] = b"00000000000\0", b"00000000000\0"
    header[483:495] = b"00000017500\0"  # its real size, 8000
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    with pytest.raises(DataError, match="is no plain file"):
        read_tar(gzip.compress(bytes(header) + bytes(1024)))


def zipped_bytes(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_files_of_a_zip_come_by_name() -> None:
    archive, members = zip_members(io.BytesIO(zipped_bytes({"a/": b"", "./a/b": b"xyz", "c": b"xy"})), BOUNDS)
    assert {name: archive.read(info) for name, info in members.items()} == {"a/b": b"xyz", "c": b"xy"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (zipped_bytes({"../a": b""}), "points outside"),
        (zipped_bytes({"/a": b""}), "points outside"),
        (zipped_bytes({"a": bytes(10_001)}), "has 10,001 bytes, and at most 10,000"),
        (zipped_bytes(dict.fromkeys("abcde", b"")), "more than 4 files"),
        (zipped_bytes({name: bytes(9_000) for name in "abcd"}), "more than 30,000 bytes"),
        (zipped_bytes({"a": b"x", "./a": b"y"}), "holds 'a' twice"),
    ],
)
def test_a_zip_that_is_no_data_set_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        zip_members(io.BytesIO(content), BOUNDS)


def test_an_encrypted_or_oddly_compressed_zip_is_refused() -> None:
    for at, value in ((8, 1), (10, 12)):  # flags, method in the central directory
        content = bytearray(zipped_bytes({"a": b"xyz"}))
        where = content.index(b"PK\x01\x02") + at
        content[where : where + 2] = struct.pack("<H", value)
        with pytest.raises(DataError, match="encrypted or compressed"):
            zip_members(io.BytesIO(bytes(content)), BOUNDS)


def spoiled(mark: bytes, at: int, value: bytes, extra: bytes = b"") -> bytes:
    """A zip of Tiny ImageNet's with a field after each ``mark`` changed."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, inside in archives.tiny_members().items():
            info = zipfile.ZipInfo(name)
            info.extra = extra
            archive.writestr(info, inside)
    found = bytearray(content.getvalue())
    for where in range(len(found)):
        if found.startswith(mark, where):
            found[where + at : where + at + len(value)] = value
    return bytes(found)


@pytest.mark.parametrize(
    "content",
    [
        spoiled(b"PK\x01\x02", 6, b"\xff"),  # needs a version of zip that there is not
        spoiled(b"PK\x01\x02", 8, b"\x20"),  # holds patches
        spoiled(b"PK\x01\x02", 8, b"\x40"),  # is encrypted in a strong way
        spoiled(b"PK\x01\x02", 24, b"\xff" * 4, extra=b"\x01\x00\x00\x00"),  # a size that should follow, and does not
        spoiled(b"PK\x01\x02", 24, b"\xff" * 4, extra=b"\x01\x00\x04\x00abcd"),
    ],
)
def test_zips_that_python_does_not_read_are_refused(tmp_path: Path, load: Load, content: bytes) -> None:
    (tmp_path / "tiny-imagenet-200.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read|not the published data set"):
        load(TinyImageNet(str(tmp_path)))


def test_a_zip_that_lies_about_a_size_gives_no_more_than_it_says() -> None:
    content = bytearray(zipped_bytes({"a": bytes(9_000)}))
    for mark, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        where = content.index(mark) + at
        content[where : where + 4] = struct.pack("<I", 10)
    archive, members = zip_members(io.BytesIO(bytes(content)), BOUNDS)
    with pytest.raises(zipfile.BadZipFile):
        archive.read(members["a"])


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"cifar-10-batches-bin/test_batch.bin": bytes(3072)}, "has 3,072 bytes; records have 3073 each"),
        ({"cifar-10-batches-bin/test_batch.bin": b""}, "has 0 bytes"),
        ({"cifar-10-batches-bin/test_batch.bin": bytes([3]) + bytes(3072)}, "with 1 classes"),
    ],
)
def test_cifar_records_that_do_not_fit_are_refused(
    tmp_path: Path, load: Load, members: dict[str, bytes], said: str
) -> None:
    root = "cifar-10-batches-bin"
    whole = {f"{root}/data_batch_{i}.bin": bytes(3073) for i in range(1, 6)} | {f"{root}/batches.meta.txt": b"a\n"}
    with pytest.raises(DataError, match=said):
        load(CIFAR10(tar(tmp_path / "cifar-10-binary.tar.gz", whole | members)))


def test_the_pickled_version_is_named_as_the_wrong_one(tmp_path: Path, load: Load) -> None:
    path = tar(tmp_path / "cifar-10-python.tar.gz", {"cifar-10-batches-py/data_batch_1": b"cos\nsystem\n"})
    with pytest.raises(DataError, match="give the binary version"):
        load(CIFAR10(path))


@pytest.mark.parametrize(
    "held",
    [
        {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.ones((3, 1))},
        {"X": np.zeros((32, 32, 3, 2), np.float64), "y": np.ones((2, 1))},
        {"X": np.zeros((64, 32, 3, 2), np.uint8), "y": np.ones((2, 1))},
        {"X": np.zeros((32, 32), np.uint8), "y": np.ones((2, 1))},
        {"X": np.array([[{"a": 1}]], dtype=object), "y": np.ones((1, 1))},
        {"images": np.zeros((32, 32, 3, 2), np.uint8)},
        {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[1.0], [np.nan]])},
        {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[1.0], [11.0]])},
    ],
)
def test_matlab_files_of_something_else_are_refused(tmp_path: Path, load: Load, held: dict[str, object]) -> None:
    archives.svhn(tmp_path)
    savemat(tmp_path / "test_32x32.mat", held)
    with pytest.raises(DataError, match=r"test_32x32\.mat (holds|is no MATLAB file)"):
        load(SVHN(str(tmp_path)))


@pytest.mark.parametrize("packed", [True, False])
def test_matlab_files_are_read_as_by_scipy(tmp_path: Path, load: Load, packed: bool) -> None:
    archives.svhn(tmp_path)
    for kind in (np.uint8, np.float64, np.int32, np.uint16):
        y = np.array([10, 3, 7])[:, None].astype(kind)
        savemat(tmp_path / "test_32x32.mat", {"y": y, "X": noise(3, 32).transpose(1, 2, 3, 0)}, do_compression=packed)
        test = load(SVHN(str(tmp_path))).test
        held = loadmat(tmp_path / "test_32x32.mat")
        np.testing.assert_array_equal(test.x.numpy(), held["X"].transpose(3, 2, 0, 1))
        assert test.y.tolist() == (held["y"].ravel() % 10).tolist()


def test_a_damaged_matlab_file_does_not_bring_the_process_down(tmp_path: Path, load: Load) -> None:
    """Elements of kinds that scipy's reader takes for pointers to nowhere."""
    archives.svhn(tmp_path)
    path = tmp_path / "test_32x32.mat"
    savemat(path, {"X": noise(2, 32).transpose(1, 2, 3, 0), "y": np.ones((2, 1), np.uint8)}, do_compression=False)
    whole = path.read_bytes()
    for at in range(126, 200):
        for value in (2, 15, 255):
            path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            with contextlib.suppress(DataError):
                load(SVHN(str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train/n01/images/n01_0.JPEG", bomb(64, 64)[:40], "n01_0.JPEG: the image cannot be decoded"),
        ("train/n01/images/n01_0.JPEG", bomb(3_000, 3_000), "3000x3000 pixels where 64x64 were announced"),
        ("val/val_annotations.txt", b"val_0.JPEG\tn09\n", "1 of 1 images lack a file or a class, the first .*val_0"),
        ("val/val_annotations.txt", b"val_9.JPEG\tn01\n", "1 of 1 images lack a file or a class"),
        ("val/val_annotations.txt", b"", "0 of 0 images"),
        ("wnids.txt", b"\xff\xfe", "cannot be read"),
        ("wnids.txt", None, r"lacks \['wnids.txt'\]"),
    ],
)
def test_tiny_imagenet_with_something_amiss_is_refused(
    tmp_path: Path, load: Load, name: str, content: bytes | None, said: str
) -> None:
    members = archives.tiny_members() | {f"tiny-imagenet-200/{name}": content}
    path = zipped(tmp_path / "tiny-imagenet-200.zip", {key: one for key, one in members.items() if one is not None})
    with pytest.raises(DataError, match=said):
        load(TinyImageNet(path))


def test_cinic_without_a_split_is_refused(tmp_path: Path, load: Load) -> None:
    image = encoded(noise(1, 32)[0], "PNG")
    for members, said in (({"train/cat/a.png": image}, "lacks train or test"), ({"a.txt": b""}, "holds no images")):
        with pytest.raises(DataError, match=said):
            load(CINIC10(tar(tmp_path / "CINIC-10.tar.gz", members)))


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (b"1,0,1\n2,0\n", "row 1: there are 1 features, in the rows before 2"),
        (b"1,0,1\n2,0,2\n", "row 1: features are not 0 and 1"),
        (b"1,0,1\n2,0;1\n", "row 1: features are not 0 and 1"),
        (b"1,0,1\n2,0,\n", "row 1: features are not 0 and 1"),
        (b"1,0,1\n2,0,10\n", "row 1: features are not 0 and 1"),
        (b"1,0,1\n0,0,1\n", "row 1: the label is b'0'"),
        (b"1,0,1\n-1,0,1\n", "row 1: the label is b'-1'"),
        (b"1,0,1\n99999,0,1\n", "row 1: the label is b'99999'"),
        (b"1,0,1\n" + b"1,0" * 9_000, "a line of 20,000 bytes"),
        (b"1,0,1\n", "1 records and 1 labels"),
        (b"", "0 records"),
    ],
)
def test_records_that_do_not_fit_are_named_with_their_row(
    tmp_path: Path, load: Load, records: bytes, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        load(Location30(archives.location(tmp_path, records)))


def test_records_and_labels_must_be_as_many_and_there(tmp_path: Path, load: Load) -> None:
    members = {"texas/100/labels": b"1\n2\n", "texas/100/feats": b"0,1\n"}
    with pytest.raises(DataError, match="1 records and 2 labels"):
        load(Texas100(tar(tmp_path / "dataset_texas.tgz", members)))
    with pytest.raises(DataError, match=r"lacks \['texas/100/feats'\]"):
        load(Texas100(tar(tmp_path / "dataset_texas.tgz", {"texas/100/labels": b"1\n"})))
