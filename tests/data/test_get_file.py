"""`tdfast.utils.get_file` from a server on this machine; archives that reach out of their folder."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from served import served

import tdfast
from tdfast.utils import archives, get_file

TEXT = b"to be or not to be\n" * 1000


@pytest.fixture
def site(tmp_path, monkeypatch):
    """(address, what was asked for, the folder that is served); the cache is a new folder."""
    pytest.importorskip("pooch")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "hamlet.txt").write_bytes(TEXT)
    with served(folder) as (address, asked):
        yield address, asked, folder


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def sha(data, kind="sha256"):
    return hashlib.new(kind, data).hexdigest()


def tar_of(path, members, mode="w:gz"):
    """A tar archive of (name, content), and of (name, type, link)."""
    with tarfile.open(path, mode) as archive:
        for name, *what in members:
            member = tarfile.TarInfo(name)
            if len(what) == 1:
                member.size = len(what[0])
                archive.addfile(member, io.BytesIO(what[0]))
            else:
                member.type, member.linkname = what
                archive.addfile(member)


# ---------------------------------------------------------------- files


def test_a_file_is_downloaded_once(site, tmp_path, capsys):
    address, asked, _ = site
    path = get_file(origin=address + "hamlet.txt?version=1")
    assert path == str(tmp_path / "home" / "datasets" / "hamlet.txt")
    assert open(path, "rb").read() == TEXT
    assert capsys.readouterr().out == f"Downloading data from {address}hamlet.txt?version=1\n"
    assert get_file("hamlet.txt", address + "hamlet.txt", file_hash=sha(TEXT)) == path
    assert get_file("hamlet.txt", address + "hamlet.txt", md5_hash=sha(TEXT, "md5")) == path
    assert len(asked) == 1 and capsys.readouterr().out == ""
    assert get_file("hamlet.txt", address + "hamlet.txt", force_download=True) == path
    assert len(asked) == 2
    assert everything(tmp_path / "home") == ["datasets", "datasets/hamlet.txt"]


@pytest.mark.parametrize("options", [
    {"file_hash": sha(TEXT)}, {"file_hash": sha(TEXT).upper()}, {"file_hash": sha(TEXT, "md5")},
    {"md5_hash": sha(TEXT, "md5")}, {"file_hash": sha(TEXT), "hash_algorithm": "sha256"},
    {"file_hash": sha(TEXT, "md5"), "hash_algorithm": "md5"},
], ids=str)
def test_a_right_hash(site, options):
    assert open(get_file("a", site[0] + "hamlet.txt", **options), "rb").read() == TEXT


@pytest.mark.parametrize("options", [
    {"file_hash": sha(b"another")}, {"md5_hash": sha(b"another", "md5")},
], ids=str)
def test_a_wrong_hash_keeps_nothing(site, tmp_path, options):
    address, asked, _ = site
    for _ in range(2):
        with pytest.raises(ValueError, match="not the file that was expected"):
            get_file("a.txt", address + "hamlet.txt", **options)
    assert len(asked) == 2 and everything(tmp_path / "home" / "datasets") == []


def test_a_file_with_another_hash_is_downloaded_again(site, tmp_path, capsys):
    address, asked, _ = site
    place = tmp_path / "home" / "datasets" / "a.txt"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"old")
    with pytest.raises(ValueError, match="not the file that was expected"):
        get_file("a.txt", address + "hamlet.txt", file_hash=sha(b"another"))
    assert place.read_bytes() == b"old", "what was there stays"
    assert get_file("a.txt", address + "hamlet.txt", file_hash=sha(TEXT)) == str(place)
    assert place.read_bytes() == TEXT and "downloaded again" in capsys.readouterr().out
    assert len(asked) == 2


@pytest.mark.parametrize("name, match", [("broken.txt", "cannot download"), ("absent.txt", "404")])
def test_a_download_that_fails_leaves_nothing(site, tmp_path, name, match):
    with pytest.raises(OSError, match=match) as caught:
        get_file(origin=site[0] + name)
    assert str(tmp_path / "home" / "datasets" / name) in str(caught.value), "where to put the file by hand"
    assert everything(tmp_path / "home") == ["datasets"]
    with pytest.raises(OSError, match="Is the address right"):
        get_file(origin="http://127.0.0.1:9/a.txt")


def test_a_failure_keeps_the_old_file(site):
    address, _, folder = site
    path = get_file(origin=address + "hamlet.txt")
    (folder / "hamlet.txt").unlink()
    with pytest.raises(OSError, match="404"):
        get_file(origin=address + "hamlet.txt", force_download=True)
    assert open(path, "rb").read() == TEXT


def test_ctrl_c_leaves_nothing(site, tmp_path, monkeypatch):
    import pooch

    def interrupted(self, origin, file, _):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        get_file(origin=site[0] + "hamlet.txt")
    assert everything(tmp_path / "home") == ["datasets"]


def test_where_a_file_goes(site, tmp_path, monkeypatch):
    origin = site[0] + "hamlet.txt"
    new = tmp_path / "new"
    assert get_file("a", origin, cache_dir=new, cache_subdir="b") == str(new / "b" / "a")
    other = str(tmp_path / "other")
    assert get_file("a", origin, cache_subdir=other) == os.path.join(other, "a")
    assert get_file(tmp_path.__class__("p.txt"), origin).endswith("p.txt")
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert get_file("a", origin) == str(tmp_path / "user" / ".keras" / "datasets" / "a")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    path = get_file("a", origin, cache_dir=tmp_path / "file" / "within")
    assert path == str(tmp_path / "temporary" / ".keras" / "datasets" / "a")


@pytest.mark.parametrize("options, match", [
    ({}, "give origin"),
    ({"origin": "https://example.org/"}, "give fname"),
    ({"origin": "https://example.org/a", "fname": "b/c"}, "without folders"),
    ({"origin": "https://example.org/a", "fname": ".."}, "without folders"),
    ({"origin": "https://example.org/a", "hash_algorithm": "sha1"}, "'auto', 'md5' or 'sha256', got 'sha1'"),
    ({"origin": "https://example.org/a", "archive_format": "rar"}, "'tar', 'zip'.* got 'rar'"),
    ({"origin": "s3://bucket/a"}, "must begin with http"),
    ({"origin": "a.txt"}, "must begin with http"),
], ids=str)
def test_mistakes(options, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        get_file(**options, cache_dir=tmp_path)


def test_without_pooch(tmp_path):
    """It says what to install; a file that is there needs nothing, nor does one on the disk."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "there").write_bytes(b"1")
    (tmp_path / "a.txt").write_bytes(b"2")
    script = f"""
import sys
sys.modules["pooch"] = None
from tdfast.utils import get_file
assert open(get_file("there", "https://example.org/there", cache_dir={str(tmp_path)!r})).read() == "1"
assert open(get_file("b", "file://{tmp_path}/a.txt", cache_dir={str(tmp_path)!r})).read() == "2"
try:
    get_file("new", "https://example.org/new", cache_dir={str(tmp_path)!r})
except ImportError as error:
    assert "pip install 'tdfast[data]'" in str(error)
else:
    raise AssertionError
"""
    # From another folder, with the tdfast that is tested.
    where = str(Path(tdfast.__file__).parents[1])
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path,
                   env={**os.environ, "PYTHONPATH": where})
    assert not (tmp_path / "datasets" / "new").exists()


# ---------------------------------------------------------------- archives


@pytest.mark.parametrize("fname, file, folder", [
    (None, "data.tar.gz_archive", "data.tar.gz"), ("data.tar.gz", "data.tar.gz", "data_extracted"),
    ("data", "data_archive", "data"),
])
def test_archives_are_unpacked(site, fname, file, folder):
    address, asked, served_folder = site
    tar_of(served_folder / "data.tar.gz", [("data/a.txt", b"A"), ("data/b/c.txt", b"C")])
    path = get_file(fname, address + "data.tar.gz", extract=True)
    assert os.path.basename(path) == folder
    assert open(os.path.join(path, "data", "b", "c.txt"), "rb").read() == b"C"
    assert sorted(os.listdir(os.path.dirname(path))) == sorted([file, folder])
    # Again: nothing is downloaded, what is missing comes back, what was added stays.
    os.unlink(os.path.join(path, "data", "a.txt"))
    open(os.path.join(path, "data", "mine.txt"), "w").close()
    assert get_file(fname, address + "data.tar.gz", untar=True) == path
    assert sorted(os.listdir(os.path.join(path, "data"))) == ["a.txt", "b", "mine.txt"] and len(asked) == 1


@pytest.mark.parametrize("archive_format", ["auto", "zip", ["tar", "zip"]], ids=str)
def test_zip(site, archive_format):
    address, _, folder = site
    with zipfile.ZipFile(folder / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.txt", TEXT)
    path = get_file("z.zip", address + "z.zip", extract=True, archive_format=archive_format)
    assert open(os.path.join(path, "a", "b.txt"), "rb").read() == TEXT


@pytest.mark.parametrize("options", [{}, {"archive_format": None}, {"archive_format": []}], ids=str)
def test_what_is_no_archive_is_told(site, options):
    with pytest.warns(UserWarning, match="no archive of the formats"):
        path = get_file("h", site[0] + "hamlet.txt", extract=True, **options)
    assert not os.path.exists(path)


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz"])
def test_no_member_leaves_the_folder(tmp_path, kind):
    path, folder = str(tmp_path / "evil"), tmp_path / "in" / "evil"
    (tmp_path / "secret").write_text("secret")
    tar_of(path, [
        ("fine.txt", b"fine"), ("../../out.txt", b"out"), (f"{tmp_path}/absolute.txt", b"out"),
        ("a/../../../up.txt", b"out"),
        ("up", tarfile.SYMTYPE, ".."), ("up/through.txt", b"out"), ("dir", tarfile.SYMTYPE, str(tmp_path)),
        ("s/l", tarfile.SYMTYPE, ".."), ("x", tarfile.SYMTYPE, "s/l/../../secret"),
        ("y", tarfile.SYMTYPE, "s/l/../.."), ("hard", tarfile.LNKTYPE, "../../secret"),
        ("hard2", tarfile.LNKTYPE, "x"), ("etc", tarfile.SYMTYPE, "/etc"), ("pipe", tarfile.FIFOTYPE, ""),
        ("good", tarfile.SYMTYPE, "fine.txt"), ("copy", tarfile.LNKTYPE, "fine.txt"),
        ("nowhere", tarfile.SYMTYPE, "absent"),
    ], kind)
    with pytest.warns(UserWarning, match="is left out") as caught:
        assert archives.unpack(path, str(folder), ["tar", "zip"])
    assert sorted(os.listdir(tmp_path)) == ["evil", "in", "secret"]
    assert os.listdir(tmp_path / "in") == ["evil"]
    assert everything(folder) == ["copy", "fine.txt", "good", "s", "s/l", "up", "up/through.txt"]
    for name in everything(folder):
        assert os.path.realpath(folder / name).startswith(os.path.realpath(folder))
    assert (folder / "good").read_bytes() == (folder / "copy").read_bytes() == b"fine"
    assert len(caught) == 12


def test_no_member_of_a_zip_leaves_the_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for name in ("../out.txt", "/absolute.txt", "a/../../out.txt", "fine.txt"):
            archive.writestr(name, "x")
    with pytest.warns(UserWarning, match="is left out") as caught:
        assert archives.unpack(str(tmp_path / "evil.zip"), str(tmp_path / "in"), ["zip"])
    assert len(caught) == 3 and everything(tmp_path) == ["evil.zip", "in", "in/fine.txt"]


def test_a_link_that_is_there_is_not_written_through(tmp_path):
    """Of the folder that an archive is unpacked into again."""
    folder = tmp_path / "in"
    (tmp_path / "elsewhere").mkdir()
    folder.mkdir()
    (folder / "a").symlink_to(tmp_path / "elsewhere")
    (folder / "b.txt").symlink_to(tmp_path / "elsewhere" / "b.txt")
    tar_of(tmp_path / "t.tar", [("a/c.txt", b"c"), ("b.txt", b"b")], "w")
    assert archives.unpack(str(tmp_path / "t.tar"), str(folder), ["tar"])
    assert everything(tmp_path / "elsewhere") == []
    assert (folder / "a" / "c.txt").read_bytes() == b"c" and not (folder / "a").is_symlink()


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_damaged_archive_changes_nothing(tmp_path, kind):
    path = tmp_path / "damaged"
    noise = os.urandom(100_000)
    if kind == "tar":
        tar_of(path, [("a.txt", noise), ("b.txt", noise)])
        path.write_bytes(path.read_bytes()[:-60_000])
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", noise)
        data = bytearray(path.read_bytes())
        data[50_000] ^= 1
        path.write_bytes(data)
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match="cannot be unpacked.*damaged"):
        archives.unpack(str(path), str(tmp_path / "in"), ["tar", "zip"])
    assert everything(tmp_path) == ["damaged", "in"]


def test_the_bar_of_a_download(site, monkeypatch, capfd):
    pytest.importorskip("tqdm")
    monkeypatch.setattr("tdfast.utils.downloads.is_terminal", lambda: True)
    get_file(origin=site[0] + "hamlet.txt")
    assert "100%" in capfd.readouterr().err
