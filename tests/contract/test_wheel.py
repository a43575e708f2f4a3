"""What is installed: the wheel as users get it, not the checkout."""

from __future__ import annotations

import configparser
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import kmq

ROOT = Path(__file__).parents[2]
INFO = f"kmq-{kmq.__version__}.dist-info"
DATA = f"kmq-{kmq.__version__}.data/data"


def build(target: str, folder: Path) -> Path:
    """Build `target` from this tree without a network; return the one file that came of it."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [built] = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Return the wheel, built once for this file."""
    return zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel")))


def read(wheel: zipfile.ZipFile, name: str) -> str:
    """Return the text of one file in the wheel."""
    return wheel.read(name).decode("utf-8")


def test_it_holds_both_packages_whole_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """Every module of the tree is there; tests, docs and caches are not."""
    names = set(wheel.namelist())
    modules = {
        str(path.relative_to(ROOT))
        for top in ("kmq", "sender")
        for path in (ROOT / top).rglob("*.py")
    }
    assert modules <= names
    assert {name.split("/")[0] for name in names} == {
        "kmq",
        "sender",
        INFO,
        f"kmq-{kmq.__version__}.data",
    }


def test_types_are_for_users_too(wheel: zipfile.ZipFile) -> None:
    """Without these markers a type checker takes both packages for untyped."""
    assert {"kmq/py.typed", "sender/py.typed"} <= set(wheel.namelist())


@pytest.mark.parametrize(
    ("placed", "source"),
    [
        ("lib/systemd/system/kmq-sender.service", "kmq-sender.service"),
        ("lib/sysusers.d/kmq.conf", "kmq.sysusers.conf"),
        ("lib/tmpfiles.d/kmq.conf", "kmq.tmpfiles.conf"),
    ],
)
def test_the_systemd_files_lie_where_systemd_looks(
    wheel: zipfile.ZipFile, placed: str, source: str
) -> None:
    """Under the prefix of the installation, ready to be linked or packaged."""
    assert read(wheel, f"{DATA}/{placed}") == (ROOT / "systemd" / source).read_text("utf-8")


def test_it_gives_the_command(wheel: zipfile.ZipFile) -> None:
    """`kmq-sender` is a script of the installation."""
    scripts = configparser.ConfigParser()
    scripts.read_string(read(wheel, f"{INFO}/entry_points.txt"))
    assert dict(scripts["console_scripts"]) == {"kmq-sender": "sender.cli:main"}


def test_its_metadata_says_what_it_is_and_needs(wheel: zipfile.ZipFile) -> None:
    """The licence goes along; dependencies have lower bounds only."""
    about = message_from_string(read(wheel, f"{INFO}/METADATA"))
    assert (about["Name"], about["Version"]) == ("kmq", kmq.__version__)
    assert about["Requires-Python"] == ">=3.11"
    assert about["License-Expression"] == "MIT"
    assert "kmq contributors" in read(wheel, f"{INFO}/licenses/LICENSE")
    assert {"curl", "web", "all"} <= set(about.get_all("Provides-Extra", []))
    needs = about.get_all("Requires-Dist", [])
    assert not [need for need in needs if "<" in need or "==" in need.split(";")[0]]


def test_the_source_archive_can_be_tested_and_built_again(tmp_path: Path) -> None:
    """Whoever packages kmq gets tests, docs, units and the licence, and no leftovers."""
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    wanted = {
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "kmq/py.typed",
        "tests/conftest.py",
        "Makefile",
    }
    assert wanted <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith(".venv")]
