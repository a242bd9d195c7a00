"""stow: pack, unpack, check and fetch archives from the command line."""
import argparse
import fnmatch
import hashlib
import json
import os
import pathlib
import random
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import xml.sax
import zipfile
from urllib.parse import unquote, urlsplit

import defusedxml.sax
import yaml
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAX_TOTAL = 20 * 1024 ** 3
MAX_RATIO = 200
MAX_ENTRIES = 200_000
CHUNK = 1 << 16
MAGIC = b"STOW2"
HELPERS = {".7z": "7z", ".rar": "unar", ".cab": "cabextract"}


class StowError(Exception):
    pass


def say(text, *args):
    """Write one line to the terminal, control characters shown as codes."""
    line = text % args if args else text
    shown = "".join(ch if ch.isprintable() or ch == "\t" else "\\x%02x" % ord(ch) for ch in line)
    sys.stderr.write(shown + "\n")


def human(size):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return "%.0f %s" % (size, unit)
        size /= 1024
    return "%.1f TiB" % size


def chunk_key(path, offset):
    return hashlib.sha1(("%s@%d" % (path, offset)).encode(), usedforsecurity=False).hexdigest()


def unpack_zip(path, dest, patterns=("*",), overwrite=False):
    """Unpack the members which fit one of the patterns; returns their number."""
    root = pathlib.Path(dest).resolve()
    done = total = 0
    with zipfile.ZipFile(path) as zf:
        members = zf.infolist()
        if len(members) > MAX_ENTRIES:
            raise StowError("too many members")
        for info in members:
            if not any(fnmatch.fnmatch(info.filename, p) for p in patterns):
                continue
            target = (root / info.filename).resolve()
            if root not in target.parents and target != root:
                raise StowError("member points outside: %r" % info.filename)
            if info.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            total += info.file_size
            if total > MAX_TOTAL or info.file_size > MAX_RATIO * max(info.compress_size, 1024):
                raise StowError("member %r would take %s" % (info.filename, human(info.file_size)))
            if target.exists() and not overwrite:
                say("%s: kept", target)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with zf.open(info) as src, open(target, "wb") as out:
                shutil.copyfileobj(src, out, CHUNK)
            mode = (info.external_attr >> 16) & 0o755
            if mode:
                os.chmod(target, mode | stat.S_IRUSR | stat.S_IWUSR)
            done += 1
    return done


def unpack_tar(path, dest, strip=0):
    """Unpack a tar file, leaving out the first path components if asked to."""
    root = os.path.realpath(dest)
    count = 0
    with tarfile.open(path) as tf:
        for member in tf:
            parts = member.name.split("/")[strip:]
            if not parts or not "".join(parts):
                continue
            member.name = "/".join(parts)
            if member.issym() or member.islnk():
                base = os.path.dirname(member.name) if member.issym() else ""
                end = os.path.realpath(os.path.join(root, base, member.linkname))
                if end != root and not end.startswith(root + os.sep):
                    say("%s: link left out", member.name)
                    continue
            elif not member.isfile() and not member.isdir():
                continue
            place = os.path.realpath(os.path.join(root, member.name))
            if place != root and not place.startswith(root + os.sep):
                raise StowError("member points outside: %r" % member.name)
            member.mode &= 0o755
            member.uid, member.gid = os.getuid(), os.getgid()
            tf.extract(member, root, set_attrs=not member.issym())
            count += 1
            if count > MAX_ENTRIES:
                raise StowError("too many members")
    return count


def unpack_other(path, dest):
    """Hand formats without a reader of our own to the program for them."""
    helper = HELPERS.get(os.path.splitext(path)[1].lower())
    if helper is None:
        raise StowError("format not known: %s" % path)
    if shutil.which(helper) is None:
        raise StowError("%s is not installed" % helper)
    source = os.path.abspath(path)
    stage = tempfile.mkdtemp(prefix=".stow-", dir=dest)
    command = {
        "7z": ["7z", "x", "-y", "-o" + stage, source],
        "unar": ["unar", "-quiet", "-output-directory", stage, source],
        "cabextract": ["cabextract", "-q", "-d", stage, source],
    }[helper]
    try:
        ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if ended.returncode:
            raise StowError("%s: %s" % (helper, ended.stderr.decode(errors="replace").strip()[-200:]))
        moved = 0
        for name in sorted(os.listdir(stage)):
            if os.path.islink(os.path.join(stage, name)):
                continue
            os.replace(os.path.join(stage, name), os.path.join(dest, name))
            moved += 1
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return moved


def fetch(url, folder, sha256=None, retries=3):
    """Download an archive into a folder; gives the path of the file."""
    parts = urlsplit(url)
    if parts.scheme != "https":
        raise StowError("only https addresses can be fetched")
    name = os.path.basename(unquote(parts.path))
    if not name or name.startswith("."):
        raise StowError("address holds no file name")
    target = os.path.join(folder, name)
    for attempt in range(retries):
        digest, size = hashlib.sha256(), 0
        try:
            with urllib.request.urlopen(url, timeout=30) as reply, open(target + ".part", "wb") as out:
                for block in iter(lambda: reply.read(CHUNK), b""):
                    size += len(block)
                    if size > MAX_TOTAL:
                        raise StowError("download is larger than %s" % human(MAX_TOTAL))
                    digest.update(block)
                    out.write(block)
            break
        except OSError as exc:
            say("%s: %s", parts.netloc, exc)
            time.sleep(2 ** attempt + random.random())
    else:
        raise StowError("could not be fetched")
    if sha256 and digest.hexdigest() != sha256.lower():
        os.remove(target + ".part")
        raise StowError("sha256 differs for %s" % name)
    os.replace(target + ".part", target)
    say("%s: %s", name, human(size))
    return target


def seal(path, passphrase):
    """Encrypt an archive in place of the plain one."""
    salt = os.urandom(16)
    key = hashlib.scrypt(passphrase.encode(), salt=salt, n=2 ** 15, r=8, p=1, maxmem=2 ** 26, dklen=32)
    nonce = os.urandom(12)
    with open(path, "rb") as src:
        body = AESGCM(key).encrypt(nonce, src.read(), MAGIC)
    sealed = path + ".stow"
    fd = os.open(sealed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as out:
        out.write(MAGIC + salt + nonce + body)
    os.remove(path)
    return sealed


def unseal(path, passphrase, out_path):
    with open(path, "rb") as src:
        if src.read(len(MAGIC)) != MAGIC:
            raise StowError("not a sealed archive")
        salt, nonce = src.read(16), src.read(12)
        body = src.read()
    key = hashlib.scrypt(passphrase.encode(), salt=salt, n=2 ** 15, r=8, p=1, maxmem=2 ** 26, dklen=32)
    try:
        plain = AESGCM(key).decrypt(nonce, body, MAGIC)
    except InvalidTag:
        raise StowError("wrong passphrase, or the file is damaged") from None
    with open(out_path, "xb") as out:
        out.write(plain)


class Contents(xml.sax.ContentHandler):
    """Collects the entries of a contents.xml as old versions wrote it."""

    def __init__(self):
        super().__init__()
        self.entries = {}

    def startElement(self, name, attrs):
        if name == "file" and "path" in attrs:
            self.entries[attrs["path"]] = attrs.get("sha256", "")


def verify(folder, manifest):
    """Names of the files which are missing or differ from the manifest."""
    root = os.path.realpath(folder)
    if manifest.endswith(".xml"):
        handler = Contents()
        defusedxml.sax.parse(manifest, handler)
        entries = handler.entries
    elif manifest.endswith((".yml", ".yaml")):
        with open(manifest, encoding="utf-8") as src:
            entries = yaml.safe_load(src)["files"]
    else:
        with open(manifest, encoding="utf-8") as src:
            entries = json.load(src)["files"]
    wrong = []
    for name, expected in entries.items():
        full = os.path.realpath(os.path.join(root, name))
        if os.path.commonpath([root, full]) != root or not os.path.isfile(full):
            wrong.append(name)
            continue
        digest = hashlib.sha256()
        with open(full, "rb") as src:
            for block in iter(lambda: src.read(CHUNK), b""):
                digest.update(block)
        if digest.hexdigest() != str(expected).lower():
            wrong.append(name)
            say("%s is %s", name, digest.hexdigest())
    return wrong


def main(argv=None):
    parser = argparse.ArgumentParser(prog="stow")
    parser.add_argument("archive")
    parser.add_argument("-d", "--dest", default=".")
    parser.add_argument("--strip", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        if zipfile.is_zipfile(args.archive):
            count = unpack_zip(args.archive, args.dest)
        elif tarfile.is_tarfile(args.archive):
            count = unpack_tar(args.archive, args.dest, args.strip)
        else:
            count = unpack_other(args.archive, args.dest)
    except (StowError, OSError) as exc:
        say("stow: %s", exc)
        return 1
    say("%d members", count)
    return 0
