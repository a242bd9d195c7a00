"""keepsake: snapshots of home folders into dated tarballs, and back again.

Used as a library by the desktop applet and as a command by cron.
"""
from __future__ import annotations

import argparse
import configparser
import contextlib
import fcntl
import fnmatch
import hashlib
import hmac
import json
import logging
import os
import pickle
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

logger = logging.getLogger("keepsake")

SNAPSHOT_NAME = re.compile(r"\d{8}-\d{6}")
STATE_DIR = Path.home() / ".local" / "state" / "keepsake"


@dataclass
class Profile:
    name: str
    sources: list[Path]
    target: Path
    remote: str | None = None
    exclude: list[str] = field(default_factory=list)
    keep: int = 14


def load_profile(path: Path) -> Profile:
    """Read a profile; unknown keys are reported, not fatal."""
    with path.open(encoding="utf-8") as fh:
        raw = yaml.safe_load(fh) or {}
    known = {"name", "sources", "target", "remote", "exclude", "keep"}
    for key in sorted(set(raw) - known):
        logger.warning("%s: key %r is not known", path, key)
    remote = raw.get("remote")
    if remote is not None and ":" not in remote:
        raise ValueError("remote must look like host:path")
    return Profile(
        name=str(raw.get("name", path.stem)),
        sources=[Path(p).expanduser() for p in raw.get("sources", [])],
        target=Path(raw["target"]).expanduser(),
        remote=remote,
        exclude=list(raw.get("exclude", [])),
        keep=int(raw.get("keep", 14)),
    )


@contextlib.contextmanager
def single_run(name: str):
    """Hold the lock of a profile, so that cron and applet do not collide."""
    STATE_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    tag = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    with open(STATE_DIR / f"{tag}.lock", "w") as fh:
        fcntl.flock(fh, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


class Snapshotter:
    def __init__(self, profile: Profile, key: bytes):
        self.profile = profile
        self.key = key
        self.index_path = profile.target / "index.json"

    def _wanted(self, path: Path) -> bool:
        text = str(path)
        return not any(fnmatch.fnmatch(text, pattern) for pattern in self.profile.exclude)

    def _walk(self, root: Path):
        for folder, dirs, files in os.walk(root, followlinks=False):
            base = Path(folder)
            dirs[:] = [d for d in dirs if self._wanted(base / d)]
            for name in files:
                path = base / name
                mode = path.lstat().st_mode
                if self._wanted(path) and (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                    yield path

    def snapshot(self) -> Path:
        """Write one tarball and return its path."""
        name = time.strftime("%Y%m%d-%H%M%S")
        final = self.profile.target / f"{name}.tar.gz"
        self.profile.target.mkdir(parents=True, exist_ok=True)

        partial = final.with_suffix(".partial")
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        count = 0
        try:
            with os.fdopen(fd, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as tar:
                for source in self.profile.sources:
                    for path in self._walk(source):
                        tar.add(path, arcname=str(path.relative_to(source.parent)), recursive=False)
                        count += 1
            os.replace(partial, final)
        except BaseException:
            partial.unlink()
            raise
        self._seal(final)
        logger.info("%s: %d files in %s", self.profile.name, count, final.name)
        return final

    def _seal(self, path: Path) -> None:
        digest = hmac.new(self.key, path.read_bytes(), hashlib.sha256).hexdigest()
        path.with_suffix(".mac").write_text(digest, encoding="ascii")

    def find(self, name: str) -> Path:
        """Path of the snapshot called `name`, as typed by the user or sent by the applet."""
        if not SNAPSHOT_NAME.fullmatch(name):
            raise LookupError(f"no snapshot {name!r}")
        path = self.profile.target / f"{name}.tar.gz"
        if not path.exists():
            raise LookupError(f"no snapshot {name!r}")
        return path

    def restore(self, archive: Path, dest: Path, patterns: list[str] | None = None) -> int:
        """Unpack what matches `patterns` under `dest`; tarballs may come from another machine."""
        dest.mkdir(parents=True, exist_ok=True)
        root = os.path.realpath(dest)
        done = 0
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                if patterns and not any(fnmatch.fnmatch(member.name, p) for p in patterns):
                    continue
                if not (member.isfile() or member.isdir()):
                    logger.info("leaving out %r", member.name)
                    continue
                where = os.path.realpath(os.path.join(root, member.name))
                if os.path.commonpath([root, where]) != root:
                    logger.warning("%r lies outside of the target", member.name)
                    continue
                member.mode &= 0o755
                tar.extract(member, root, set_attrs=True, numeric_owner=True)
                done += 1
        return done

    def read_cache(self, path: Path) -> dict:
        """Modification times of the last run, kept beside the snapshots on the share."""
        blob = path.read_bytes()
        mac, body = blob[:32], blob[32:]
        expected = hmac.new(self.key, body, hashlib.sha256).digest()
        if not hmac.compare_digest(mac, expected):
            logger.warning("cache %s does not fit this profile, starting afresh", path.name)
            return {}
        return pickle.loads(body)

    def write_cache(self, path: Path, times: dict) -> None:
        body = pickle.dumps(times)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as fh:
            fh.write(hmac.new(self.key, body, hashlib.sha256).digest() + body)
        os.replace(fh.name, path)

    def push(self, archive: Path) -> None:
        """Copy a snapshot to the remote of the profile, if there is one."""
        if self.profile.remote is None:
            return
        subprocess.run(
            ["rsync", "--archive", "--partial", "--", str(archive), self.profile.remote],
            check=True,
            timeout=3600,
        )

    def prune(self) -> list[str]:
        snapshots = sorted(self.profile.target.glob("*.tar.gz"), reverse=True)
        removed = []
        for old in snapshots[self.profile.keep:]:
            old.unlink()
            old.with_suffix(".mac").unlink(missing_ok=True)
            removed.append(old.name)
        return removed


def export_key(profile_name: str, key: bytes, out: Path) -> None:
    """Write the key of a profile to a file the user can carry to a new machine."""
    fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as fh:
        json.dump({"profile": profile_name, "key": key.hex()}, fh)
    logger.info("key of %s written to %s", profile_name, out)


def import_bundle(bundle: Path, config_dir: Path) -> list[str]:
    """Take over the profiles (INI files) of a bundle made on another machine."""
    taken = []
    with tempfile.TemporaryDirectory(prefix="keepsake-") as scratch:
        with tarfile.open(bundle) as tar:
            tar.extractall(scratch, filter="data")
        for found in sorted(Path(scratch).glob("profiles/*.ini")):
            parser = configparser.ConfigParser()
            parser.read(found, encoding="utf-8")
            name = parser.get("profile", "name", fallback=found.stem)
            if not re.fullmatch(r"[\w-]{1,40}", name):
                logger.warning("%s: unusable name %r", found.name, name)
                continue
            shutil.copyfile(found, config_dir / f"{name}.ini")
            taken.append(name)
    return taken


def main() -> int:
    ap = argparse.ArgumentParser(prog="keepsake")
    ap.add_argument("profile", type=Path)
    ap.add_argument("--key", type=Path, default=STATE_DIR / "key")
    opts = ap.parse_args()
    logging.basicConfig(level=logging.INFO)
    profile = load_profile(opts.profile)
    with single_run(profile.name):
        worker = Snapshotter(profile, opts.key.read_bytes())
        worker.push(worker.snapshot())
        for name in worker.prune():
            logger.info("removed %s", name)
    return 0
