"""Unpacks a backup, and refuses entries that would land outside the target folder."""
import tarfile
from pathlib import Path

MAX_TOTAL = 500 * 1024 * 1024
MAX_FILES = 10_000


class BadBackup(Exception):
    """The archive holds something that a backup of ours never holds."""


def checked_members(archive: tarfile.TarFile, target: Path):
    total = 0
    for number, member in enumerate(archive, start=1):
        if number > MAX_FILES:
            raise BadBackup("too many files")
        if not (member.isfile() or member.isdir()):
            raise BadBackup(f"{member.name} is neither a file nor a folder")
        destination = (target / member.name).resolve()
        if not destination.is_relative_to(target):
            raise BadBackup(f"{member.name} points outside the target folder")
        total += member.size
        if total > MAX_TOTAL:
            raise BadBackup("more data than a backup can hold")
        yield member


def restore(backup: Path, target: Path) -> None:
    target = target.resolve()
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(backup, "r:gz") as archive:
        members = list(checked_members(archive, target))
        archive.extractall(target, members=members, filter="data")
