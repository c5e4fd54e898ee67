"""Broken copies of good files: their bytes, and where the kind is known their inside, sealed again so as to be read."""

from __future__ import annotations

import copy
import gzip
import json
import random
import re
import struct
import tarfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

Files = dict[str, bytes]  # content by path in the input's folder
Mutate = Callable[[bytes, random.Random, Sequence[bytes]], bytes]


_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_INTEGERS = (0, 1, -1, 7, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**53 + 1, 2**62, 2**63 - 1, -(2**63))
_SIZES = (*_INTEGERS, 2**60, 2**64 - 1, 60_000, 100_000_000)
_TEXTS = (
    "", "a", "\0", "../../x", "/etc/passwd", "é\u2028", "\ud800", "x" * 5000, "1e309", "nan", "train", "test", "*", "[",
    "name", "loss", "digits", "on_disk", "F64", "BOOL", "F4", "C64", "F8_E8M0", "sum/0/w", "__metadata__", "1" * 5000,
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, *_INTEGERS, 2**64, 10**30, 0.5, -0.0, 1e308, 1e-320, float("inf"), float("nan"), *_TEXTS,
    [], {}, [[]], [1], ["a"], {"name": "a"}, {"": 0},
)  # fmt: skip
_WORDS = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\r\n", b",,", b'"', b"'''", b'"""', b"[[", b"]]", b"{", b"}", b"=", b"#", b"\\",
    b"nan", b"-inf", b"0x1F", b"1979-05-27T07:32:00Z", b"07:32:00", b"1e999", b"NULL", b"True", b"9" * 400, b"PAR1",
    b"|O", b">f8", b"<f4", b"|u1", b"(-1,)", b"IHDR", b"IDAT", b"\xff\xd8", b"../", b"%s%n", b"\xed\xa0\x80",
)  # fmt: skip


def mutated(files: Files, dice: random.Random, others: Sequence[Files]) -> Files:
    """A copy of an input with one of its files, rarely two, broken or gone; parts may come from others' same file."""
    changed = dict(files)
    for _ in range(1 + (dice.random() < 0.1)):
        name = dice.choice(list(changed))
        if dice.random() < 0.002 and len(changed) > 1:
            del changed[name]
        else:
            known = [one[name] for one in others if name in one]
            changed[name] = content(name, changed[name], dice, known or [changed[name]])
    return changed


def content(name: str, whole: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    """A broken copy of one file: of its bytes alone, or of what they mean by the ending of its name."""
    mutate = next((inside for ending, inside in _INSIDE.items() if name.endswith(ending)), None)
    if mutate is None or dice.random() < 0.4:
        return flipped(whole, dice, others)
    try:
        return mutate(whole, dice, others)
    except (ValueError, KeyError, TypeError, IndexError, struct.error, EOFError, OSError, zlib.error, RecursionError):
        return flipped(whole, dice, others)  # a hostile seed, of which there is no inside
    except (tarfile.TarError, OverflowError):
        return flipped(whole, dice, others)


def flipped(whole: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    """Bytes flipped, inserted, deleted, repeated, overwritten by sizes, cut off, or joined with another file's."""
    now = bytearray(whole)
    for _ in range(dice.choice((1, 1, 1, 2, 4, 8))):
        at = dice.randrange(len(now) + 1)
        if dice.random() < 0.3:  # where headers are
            at = min(at, dice.randrange(64))
        end = min(at + dice.choice((1, 1, 2, 4, 16, 200)), len(now))
        kind = dice.randrange(10)
        if kind < 3 and at < len(now):
            now[at] ^= 1 << dice.randrange(8)
        elif kind == 3 and at < len(now):
            now[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, dice.randrange(256)))
        elif kind == 4:
            now[at:at] = dice.choice((dice.choice(_WORDS), dice.randbytes(dice.choice((1, 4, 40)))))
        elif kind == 5:
            del now[at:end]
        elif kind == 6:
            now[at:at] = now[at:end] * dice.choice((1, 1, 3, 50))
        elif kind == 7:
            size = dice.choice(_SIZES)
            width = dice.choice((1, 2, 4, 8))
            now[at : at + width] = (size % 256**width).to_bytes(width, dice.choice(("little", "big")))
        elif kind == 8 and (numbers := list(_NUMBER.finditer(now, at, at + 200))):
            now[numbers[0].start() : numbers[0].end()] = str(dice.choice((*_SIZES, 10**25, 0.5, 1e300))).encode()
        elif kind == 9 and dice.random() < 0.5:
            other = dice.choice(others)
            now[at:] = other[dice.randrange(len(other) + 1) :]
        elif kind == 9:
            del now[at:]
    return bytes(now)


def value(plain: Any, dice: random.Random) -> Any:  # noqa: ANN401 -- any JSON value
    """A copy of a JSON value with a few fields replaced, dropped, renamed, repeated or wrapped."""
    plain = json.loads(json.dumps(plain))
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        places: list[tuple[Any, Any]] = []
        waiting = [plain]
        while waiting:
            here = waiting.pop()
            keys = here if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()
            places += [(here, key) for key in keys]
            waiting += [here[key] for key in keys]
        if not places:
            return copy.deepcopy(dice.choice(_VALUES))
        here, key = dice.choice(places)
        kind = dice.randrange(8)
        if kind < 4:
            here[key] = copy.deepcopy(dice.choice(_VALUES))
        elif kind == 4:
            del here[key]
        elif kind == 5 and isinstance(here, dict):
            here[dice.choice((dice.choice(_TEXTS), str(key)[:-1], f"{key}s"))] = here.pop(key)
        elif kind == 6:
            there, other = dice.choice(places)
            here[key] = (
                json.loads(json.dumps(there[other])) if isinstance(there, dict) and other in there else [here[key]]
            )
        else:
            for _ in range(dice.choice((1, 2, 20))):
                here[key] = [here[key]] if dice.random() < 0.5 else {"name": here[key]}
    return plain


def toml(plain: Any) -> str:  # noqa: ANN401 -- any JSON value
    """TOML of a table, in one line each."""
    if not isinstance(plain, dict):
        return f"data = {_toml(plain)}\n"
    return "".join(f"{json.dumps(key)} = {_toml(one)}\n" for key, one in plain.items())


def _toml(plain: Any) -> str:  # noqa: ANN401
    if isinstance(plain, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in plain.items()) + "}"
    if isinstance(plain, list):
        return "[" + ", ".join(map(_toml, plain)) + "]"
    if isinstance(plain, float):
        return repr(plain)
    return json.dumps(plain)


def _json(whole: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    return json.dumps(value(json.loads(whole), dice)).encode()


def _safetensors(whole: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    length = int.from_bytes(whole[:8], "little")
    header, numbers = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    if dice.random() < 0.3:
        numbers = flipped(numbers, dice, [numbers])
    else:
        header = value(header, dice)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def _npy(whole: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    length = int.from_bytes(whole[8:10], "little")
    header = flipped(whole[10 : 10 + length - 1], dice, others).rstrip()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return whole[:8] + (len(header) % 65536).to_bytes(2, "little") + header + whole[10 + length :]


def _csv(whole: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    lines = [line.split(b",") for line in whole.split(b"\n")]
    for _ in range(dice.choice((1, 1, 2, 5))):
        row = dice.choice(lines)
        cell = dice.choice((str(dice.choice(_VALUES)).encode(errors="replace"), dice.choice(_WORDS)))
        kind = dice.randrange(4)
        if kind < 2:
            row[dice.randrange(len(row))] = cell
        elif kind == 2:
            row.append(cell)
        else:
            lines.append(list(row))
    return b"\n".join(b",".join(line) for line in lines)


def _png(whole: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    """Chunks broken, swapped or repeated, each with its checksum made right."""
    chunks, at = [], 8
    while at + 12 <= len(whole):
        length = int.from_bytes(whole[at : at + 4], "big")
        chunks.append((whole[at + 4 : at + 8], whole[at + 8 : at + 8 + length]))
        at += 12 + length
    which = dice.randrange(len(chunks))
    kind, inside = chunks[which]
    if kind == b"IDAT" and dice.random() < 0.5:
        inside = zlib.compress(flipped(zlib.decompress(inside), dice, [inside]), 1)
    else:
        inside = flipped(inside, dice, [inside])
    if dice.random() < 0.1:
        kind = dice.choice((b"PLTE", b"tRNS", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"acTL", b"fcTL", b"pHYs"))
    chunks[which : which + (dice.random() < 0.9)] = [(kind, inside)]
    return whole[:8] + b"".join(png_chunk(*one) for one in chunks)


def png_chunk(kind: bytes, inside: bytes) -> bytes:
    """A part of a PNG file with its length and checksum."""
    return struct.pack(">I", len(inside)) + kind + inside + struct.pack(">I", zlib.crc32(kind + inside))


def _tar(whole: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    """Headers changed with their checksum made right, or members' contents broken, compressed again."""
    plain = bytearray(gzip.decompress(whole))
    headers, at = [], 0
    while at + 512 <= len(plain) and plain[at]:
        size = int(plain[at + 124 : at + 136].rstrip(b"\0 ") or b"0", 8)
        headers.append((at, size))
        at += 512 + -(-size // 512) * 512
    start, size = dice.choice(headers)
    kind = dice.randrange(4)
    if kind == 0:
        fields = ((0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155))
        field, width = dice.choice(fields)
        word = dice.choice(
            (b"../../x", b"/x", b"77777777777", b"\x80" + b"\xff" * 11, b"x", b"-1", b"\xff\xfe", b"5", b"2", b"L")
        )
        plain[start + field : start + field + width] = word[:width].ljust(width, b"\0")
    elif kind == 1 and size:
        plain[start + 512 : start + 512 + size] = flipped(plain[start + 512 : start + 512 + size], dice, [b""])
    elif kind == 2:
        del plain[start : start + 512 + -(-size // 512) * 512]
    else:
        plain = bytearray(flipped(plain, dice, [plain]))
    if kind == 0:
        plain[start + 148 : start + 156] = b" " * 8
        plain[start + 148 : start + 156] = b"%06o\0 " % sum(plain[start : start + 512])
    return gzip.compress(bytes(plain), 1, mtime=0)


def _zip(whole: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    """One of the records that name members changed, or the bytes of a stored member with its checksum made right."""
    now = bytearray(whole)
    starts = [found.start() for found in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06)", whole)]
    at = dice.choice(starts) + 4 + dice.randrange(42)
    width = dice.choice((1, 2, 4))
    now[at : at + width] = (dice.choice(_SIZES) % 256**width).to_bytes(width, "little")
    return bytes(now)


def _mat(whole: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    """The variables unpacked, broken, and packed again."""
    at, parts = 128, []
    while at + 8 <= len(whole):
        kind, length = struct.unpack("<II", whole[at : at + 8])
        parts.append((kind, whole[at + 8 : at + 8 + length]))
        at += 8 + length
    which = dice.randrange(len(parts))
    kind, inside = parts[which]
    inside = zlib.compress(flipped(zlib.decompress(inside), dice, [inside]), 1)
    parts[which] = (kind, inside)
    return whole[:128] + b"".join(struct.pack("<II", kind, len(inside)) + inside for kind, inside in parts)


def _toml_file(whole: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    import tomllib

    return toml(value(tomllib.loads(whole.decode()), dice)).encode(errors="surrogatepass")


_INSIDE: dict[str, Mutate] = {
    ".toml": _toml_file,
    ".json": _json,
    ".safetensors": _safetensors,
    ".npy": _npy,
    ".csv": _csv,
    ".png": _png,
    ".tar.gz": _tar,
    ".tgz": _tar,
    ".zip": _zip,
    ".mat": _mat,
}
