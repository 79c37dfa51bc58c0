"""Archives are unpacked as a whole or not at all, and never elsewhere."""

from __future__ import annotations

import bz2
import gzip
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kaiwo.errors import ConfigError, DiskError, IntegrityError, KaiwoError, exit_code_of
from kaiwo.initializer import staging, unpacking
from kaiwo.initializer.places import Places
from kaiwo.initializer.unpacking import ending_of, unpack
from tests.support import archives
from tests.support.archives import block, blocks, header, tar, zip_header, zip_of
from tests.support.trials_length import LONG

MODEL = {"model/config.json": b"{}", "model/1/weights.bin": bytes(range(256)) * 99, "empty": b""}
TAR, ZIP = "model.tar.gz", "model.zip"
PLAIN = tar(*MODEL.items(), mode="w")
DOT = header("./", type=tarfile.DIRTYPE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The model's folder, beside a file that no archive may touch."""
    (tmp_path / "outside").write_bytes(b"untouched")
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def found(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def unpack_own(folder: Path, name: str) -> None:
    """Unpack an archive that is in the folder."""
    ending = ending_of(name)
    assert ending is not None
    unpack(f"{folder}/{name}", str(folder), ending, is_own=True, places=Places())


def unpacked(folder: Path, name: str, content: bytes) -> dict[str, bytes]:
    """What is there after an archive was unpacked, without the folder of the state."""
    (folder / name).write_bytes(content)
    unpack_own(folder, name)
    return found(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (TAR, archives.tar_of(MODEL)),
        ("MODEL.TGZ", tar(*MODEL.items(), format_=tarfile.GNU_FORMAT)),
        ("model.tar", tar(*MODEL.items(), mode="w", format_=tarfile.USTAR_FORMAT)),
        ("model.tar.bz2", tar(*MODEL.items(), mode="w:bz2")),
        (TAR, gzip.compress(PLAIN[:2048]) + gzip.compress(PLAIN[2048:])),
        # Named for another compression than they have.
        ("model.tar", archives.tar_of(MODEL)),
        ("model.tgz", PLAIN),
        (TAR, tar(*MODEL.items(), mode="w:bz2")),
        (ZIP, zip_of(*MODEL.items())),
        (ZIP, zip_of(*MODEL.items(), method=zipfile.ZIP_STORED)),
        # As ``tar -c .`` and ``zip -r`` make them.
        (TAR, tar((DOT, b""), *((f"./{n}", c) for n, c in MODEL.items()))),
        (ZIP, zip_of(("model/", b""), *MODEL.items())),
    ],
    ids=range(12),
)  # fmt: skip
def test_the_files_of_an_archive_take_its_place(folder: Path, name: str, content: bytes) -> None:
    assert unpacked(folder, name, content) == MODEL


def test_names_may_be_long_and_of_any_language(folder: Path) -> None:
    files = {f"{'d' * 200}/{'f' * 120}": b"1", "模型/ü.bin": b"2", "a b": b"3"}
    assert unpacked(folder, TAR, archives.tar_of(files)) == files
    assert unpacked(folder, "m.tgz", tar(*files.items(), format_=tarfile.GNU_FORMAT)) == files
    assert unpacked(folder, ZIP, zip_of(*files.items())) == files


def test_a_file_that_has_the_name_of_its_archive_is_there_afterwards(folder: Path) -> None:
    assert unpacked(folder, ZIP, zip_of((ZIP, b"inner"))) == {ZIP: b"inner"}
    assert unpacked(folder, TAR, tar((f"{TAR}/x", b"1")))[f"{TAR}/x"] == b"1"


def test_programs_stay_programs_and_nothing_else_of_a_mode_counts(folder: Path) -> None:
    entries = (
        (header("run", mode=0o6755), b"#!"),
        (header("data", mode=0o7666), b"1"),
        (header("d", type=tarfile.DIRTYPE, mode=0o7000), b""),
    )
    unpacked(folder, TAR, tar(*entries, ("d/x", b"")))
    modes = {each: stat.S_IMODE((folder / each).stat().st_mode) for each in ("run", "data", "d")}
    assert modes["run"] & 0o7111 == 0o111
    assert modes["data"] & 0o7111 == 0
    assert modes["d"] & 0o7700 == 0o700


def test_unpacking_again_changes_no_file_whose_bytes_are_there(folder: Path) -> None:
    unpacked(folder, TAR, archives.tar_of(MODEL))
    before = (folder / "model/1/weights.bin").stat()
    (folder / "model/config.json").write_bytes(b"[]")
    assert unpacked(folder, TAR, archives.tar_of(MODEL)) == MODEL
    assert os.path.samestat((folder / "model/1/weights.bin").stat(), before)


def test_two_runs_in_one_folder_never_take_each_others_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "other.tgz").write_bytes(archives.tar_of(dict.fromkeys(MODEL, b"other")))
    (folder / TAR).write_bytes(archives.tar_of(MODEL))

    class Killed(BaseException):
        """As if the other run had ended there."""

    def killed(*_: object) -> None:
        raise Killed

    class Meanwhile(Places):
        """Another run stages its archive once this one has staged its own."""

        def take(self, *_: object) -> None:
            other = f"{folder}/other.tgz"
            with monkeypatch.context() as patch:
                patch.setattr(unpacking, "_publish", killed)
                with pytest.raises(Killed):
                    unpack(other, str(folder), ".tgz", is_own=False, places=Places())

    with pytest.raises(DiskError):
        unpack(f"{folder}/{TAR}", str(folder), ".tgz", is_own=True, places=Meanwhile())
    assert [*found(folder)] == ["other.tgz"]


def test_what_a_killed_run_had_staged_is_removed(folder: Path) -> None:
    (folder / ".kaiwo/unpacking/model").mkdir(parents=True)
    (folder / ".kaiwo/unpacking/model/half").write_bytes(b"1")
    assert unpacked(folder, TAR, archives.tar_of(MODEL)) == MODEL


def link(name: str, to: str, type_: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return header(name, type=type_, linkname=to), b""


def special(type_: bytes) -> tuple[tarfile.TarInfo, bytes]:
    return header("special", type=type_, devmajor=1, devminor=3), b""


def pax(**attributes: str) -> tuple[tarfile.TarInfo, bytes]:
    return header("x", pax_headers=attributes), b"1"


def gnu_long(name: bytes, type_: bytes = tarfile.GNUTYPE_LONGNAME) -> bytes:
    return blocks(block("././@LongLink", len(name), type=type_), name, block("x"))


def sparse_of_gnu() -> bytes:
    raw = bytearray(block("sparse", 512, type=tarfile.GNUTYPE_SPARSE))
    raw[386:398] = raw[398:410] = b"00000000000\0"
    raw[483:495] = b"77777777777\0"
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return blocks(bytes(raw), bytes(512))


def negative() -> bytes:
    raw = bytearray(block("negative"))
    raw[124:136] = b"\xff" * 12
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return blocks(bytes(raw))


def many_global() -> bytes:
    """A file after each global header, which has another attribute each time."""
    parts: list[bytes] = []
    for number in range(150):
        text = b"20 a%03d=aaaaaaaaaa\n" % number
        text = b"%d %s" % (len(text), text[3:])
        parts += [
            block("g", len(text), type=tarfile.XGLTYPE),
            text,
            block(f"d{number % 50}", type=tarfile.DIRTYPE),
        ]
    return blocks(*parts)


GOOD = ("good", b"1")
#: Each archive, its name, and the exit code: 2 for a name, 7 for all else.
HOSTILE: dict[str, tuple[str, Callable[[], bytes], int]] = {
    "a name that climbs": (TAR, lambda: tar(GOOD, ("../outside", b"0")), 2),
    "a name that climbs inside": (TAR, lambda: tar(GOOD, ("a/../../outside", b"0")), 2),
    "an absolute name": (TAR, lambda: tar(GOOD, ("/outside", b"0")), 2),
    "a pax path that climbs": (TAR, lambda: tar(GOOD, pax(path="../outside")), 2),
    "a long GNU name that climbs": (
        TAR, lambda: gnu_long(b"a/" * 99 + b"../" * 100 + b"outside\0"), 2,
    ),
    "a link": (TAR, lambda: tar(GOOD, link("a", "good")), 7),
    "a link, then a file behind it": (TAR, lambda: tar(link("a", ".."), ("a/outside", b"0")), 7),
    "a link to itself": (TAR, lambda: tar(link("a", "a")), 7),
    "a hard link to a file outside": (
        TAR, lambda: tar(link("a", "../outside", tarfile.LNKTYPE)), 7,
    ),
    "a hard link, then bytes for it": (
        TAR, lambda: tar(link("a", "../outside", tarfile.LNKTYPE), ("a", b"0")), 7,
    ),
    "a pax link": (TAR, lambda: tar(link("a", "b" * 200)), 7),
    "a character device": (TAR, lambda: tar(GOOD, special(tarfile.CHRTYPE)), 7),
    "a block device": (TAR, lambda: tar(GOOD, special(tarfile.BLKTYPE)), 7),
    "a pipe": (TAR, lambda: tar(GOOD, special(tarfile.FIFOTYPE)), 7),
    "an entry of an unknown kind": (TAR, lambda: blocks(block("x", type=b"Z")), 7),
    "two files of one name": (TAR, lambda: tar(GOOD, GOOD), 2),
    "two spellings of one name": (TAR, lambda: tar(("a/b", b"1"), ("./a//b", b"2")), 2),
    "a file, then a folder of its name": (TAR, lambda: tar(("a", b"1"), ("a/b", b"1")), 2),
    "a folder, then a file of its name": (TAR, lambda: tar(("a/b", b"1"), ("a", b"1")), 2),
    "a name that is not UTF-8": (TAR, lambda: blocks(block("\udcff")), 2),
    "a name with an escape": (TAR, lambda: tar(("a\x1b[2Jb", b"")), 2),
    "a name with a backslash": (TAR, lambda: tar(("..\\outside", b"")), 2),
    "a name of kaiwo's own": (TAR, lambda: tar((".kaiwo/manifest.jsonl", b"{}")), 2),
    "a name that is too long": (TAR, lambda: tar(("a" * 256, b"")), 2),
    "a path that is too long": (TAR, lambda: tar(("/".join(["d" * 250] * 17), b"")), 2),
    "a file without a name": (TAR, lambda: blocks(block("")), 2),
    "a sparse file of GNU": (TAR, sparse_of_gnu, 7),
    "a sparse file of pax 0.0": (TAR, lambda: tar(pax(**{"GNU.sparse.size": "9"})), 7),
    "a sparse file of pax 0.1": (TAR, lambda: tar(pax(**{"GNU.sparse.map": "0,1"})), 7),
    "a sparse file of pax 1.0": (
        TAR, lambda: tar(pax(**{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})), 7,
    ),
    "a pax size that is another": (TAR, lambda: tar(pax(size="99999999999")), 7),
    "a negative size": (TAR, negative, 7),
    "a negative pax size": (TAR, lambda: tar(pax(size="-1")), 7),
    "a name of many megabytes": (TAR, lambda: gnu_long(b"a" * (4 << 20)), 7),
    "attributes of many megabytes": (TAR, lambda: tar(pax(comment="a" * (4 << 20))), 7),
    "attributes for all entries without end": (TAR, many_global, 7),
    "headers without end": (
        TAR, lambda: blocks(*[block("x", 2, type=tarfile.GNUTYPE_LONGNAME), b"a\0"] * 5000), 7,
    ),
    "a bomb": (TAR, lambda: archives.bomb_of_blocks(70 << 20), 7),
    "too many entries": (TAR, lambda: archives.many_entries(2_000), 7),
    "too many implied folders": (TAR, lambda: tar(("a/" * 101 + "x", b"")), 7),
    "no entry": (TAR, tar, 7),
    "folders alone": (TAR, lambda: tar((header("a", type=tarfile.DIRTYPE), b"")), 7),
    "nothing": (TAR, lambda: b"", 7),
    "no archive": (TAR, lambda: b"<html>not found</html>", 7),
    "a cut compression": (TAR, lambda: tar(*MODEL.items())[:-20], 7),
    "garbage after the compression": (TAR, lambda: tar(*MODEL.items()) + b"garbage", 7),
    "a wrong CRC of the compression": (TAR, lambda: tar(*MODEL.items())[:-8] + bytes(8), 7),
    "a damaged compression": (TAR, lambda: gzip.compress(PLAIN)[:40] + b"\xff" * 60, 7),
    "no end marker": ("model.tar", lambda: PLAIN[: PLAIN.rindex(b"empty") + 512], 7),
    "a cut file": ("model.tar", lambda: PLAIN[:3000], 7),
    "a header that is none": ("model.tar", lambda: PLAIN[:1024] + b"\x01" * 512 + PLAIN[1536:], 7),
    "a damaged bzip2": ("model.tar.bz2", lambda: bz2.compress(PLAIN)[:60] + b"\xff" * 90, 7),
    "zip: a name that climbs": (ZIP, lambda: zip_of(GOOD, (zip_header("../outside"), b"0")), 2),
    "zip: an absolute name": (ZIP, lambda: zip_of((zip_header("/outside"), b"0")), 2),
    "zip: backslashes": (ZIP, lambda: zip_of((zip_header("..\\outside"), b"0")), 2),
    "zip: a drive of Windows": (ZIP, lambda: zip_of((zip_header("C:\\outside"), b"0")), 2),
    "zip: a zero byte": (ZIP, lambda: zip_of((zip_header("good\0.exe"), b"0")), 7),
    "zip: a link": (ZIP, lambda: zip_of((zip_header("a", stat.S_IFLNK | 0o777), b"../outside")), 7),
    "zip: a device": (ZIP, lambda: zip_of((zip_header("a", stat.S_IFCHR | 0o666), b"")), 7),
    "zip: a pipe": (ZIP, lambda: zip_of((zip_header("a", stat.S_IFIFO | 0o666), b"")), 7),
    "zip: two files of one name": (
        ZIP, lambda: zip_of((zip_header("a"), b"1"), (zip_header("./a"), b"2")), 2,
    ),
    "zip: a file and a folder": (ZIP, lambda: zip_of(("a", b"1"), ("a/b", b"1")), 2),
    "zip: a bomb": (ZIP, lambda: zip_of(("a", bytes(70 << 20))), 7),
    "zip: entries that share bytes": (ZIP, archives.overlapping, 7),
    "zip: an entry that is elsewhere": (ZIP, lambda: archives.with_offset(1 << 62), 7),
    "zip: a size that is less": (ZIP, lambda: archives.with_size(zip_of(("a", b"1234")), 3), 7),
    "zip: a size that is more": (ZIP, lambda: archives.with_size(zip_of(("a", b"1234")), 9), 7),
    "zip: an encrypted entry": (ZIP, lambda: archives.with_flag(zip_of(("a", b"1234")), 1), 7),
    "zip: bytes that differ": (
        ZIP, lambda: zip_of(("a", b"1234"), method=0).replace(b"1234", b"1235"), 7,
    ),
    "zip: bzip2 inside": (ZIP, lambda: zip_of(("a", b"1234"), method=zipfile.ZIP_BZIP2), 7),
    "zip: lzma inside": (ZIP, lambda: zip_of(("a", b"1234"), method=zipfile.ZIP_LZMA), 7),
    "zip: a folder with bytes": (ZIP, lambda: zip_of((zip_header("a/"), b"1")), 7),
    "zip: a million lines": (ZIP, lambda: archives.many_lines(1_000_000), 7),
    "zip: cut": (ZIP, lambda: zip_of(*MODEL.items())[:-30], 7),
    "zip: no archive": (ZIP, lambda: b"<html>not found</html>", 7),
    "zip: nothing in it": (ZIP, zip_of, 7),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_leaves_nothing_behind(
    folder: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "MOST_ENTRIES", 100)  # else one case makes 100,000 files
    name, make, code = HOSTILE[case]
    (folder / name).write_bytes(make())
    (folder / "of-another-model").write_bytes(b"stays")
    with pytest.raises((IntegrityError, ConfigError)) as caught:
        unpack_own(folder, name)
    assert exit_code_of(caught.value) == code, caught.value
    assert found(folder) == {"of-another-model": b"stays"}
    assert [*(folder / ".kaiwo").iterdir()] == []
    assert (folder.parent / "outside").read_bytes() == b"untouched"
    assert len(caught.value.message) < 500
    assert caught.value.message.isprintable()


@pytest.mark.skipif(not LONG, reason="it makes 100,000 files")
def test_a_million_entries_leave_nothing_behind(folder: Path) -> None:
    (folder / TAR).write_bytes(archives.many_entries(1_000_000))
    with pytest.raises(IntegrityError, match="more than 100,000"):
        unpack_own(folder, TAR)
    assert found(folder) == {}


def test_an_archive_of_another_kind_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="does not unpack"):
        unpacked(folder, "model.tar.xz", tar(*MODEL.items(), mode="w:xz"))


def test_names_that_differ_in_case_are_two_files_where_the_file_system_says_so(
    folder: Path,
) -> None:
    files = {"Model": b"1", "model": b"2"}
    assert unpacked(folder, TAR, archives.tar_of(files)) == files


def test_an_archive_needs_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = os.statvfs(folder)
    little = os.statvfs_result((*there[:3], 2, 2, *there[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _: little)
    (folder / TAR).write_bytes(archives.tar_of(MODEL))
    with pytest.raises(DiskError, match="not enough space"):
        unpack_own(folder, TAR)
    # Another run, with more room, need not fetch it again.
    assert [*found(folder)] == [TAR]


def test_a_link_in_the_models_folder_is_not_followed_out_of_it(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder / "model").symlink_to("../elsewhere")
    with pytest.raises(DiskError, match="leads out"):
        unpacked(folder, TAR, archives.tar_of(MODEL))
    assert [*(folder.parent / "elsewhere").iterdir()] == []


def test_a_link_at_a_files_place_is_replaced(folder: Path) -> None:
    (folder / "empty").symlink_to("../outside")
    assert unpacked(folder, TAR, archives.tar_of(MODEL)) == MODEL
    assert (folder.parent / "outside").read_bytes() == b"untouched"


def test_a_folder_at_a_files_place_is_an_error(folder: Path) -> None:
    (folder / "empty/x").mkdir(parents=True)
    with pytest.raises(KaiwoError) as caught:
        unpacked(folder, TAR, archives.tar_of(MODEL))
    assert exit_code_of(caught.value) == 6
