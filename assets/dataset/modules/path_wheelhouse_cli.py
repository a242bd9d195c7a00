#!/usr/bin/env python3
"""Install command-line tools of the company into per-tool environments.

    brewer install NAME[==VERSION]
    brewer remove NAME
"""

import hashlib
import json
import logging
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from urllib.parse import urljoin, urlsplit

log = logging.getLogger("brewer")

INDEX = "https://tools.hopfenhaus.example/index/"
HOME = os.path.expanduser("~/.brewer")
TOOL_NAME = re.compile(r"[a-z][a-z0-9_-]{1,48}")
MAX_DOWNLOAD = 300 << 20


class InstallError(Exception):
    pass


class Index:
    """The JSON index of the tool server."""

    def __init__(self, base=INDEX, ca_file=None):
        self.base = base
        self.context = ssl.create_default_context(cafile=ca_file)

    def open(self, url):
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.hostname != urlsplit(self.base).hostname:
            raise InstallError("address %s is not on the tool server" % url)
        request = urllib.request.Request(url, headers={"User-Agent": "brewer/3"})
        return urllib.request.urlopen(request, timeout=30, context=self.context)

    def releases(self, name):
        with self.open(urljoin(self.base, "%s.json" % name)) as resp:
            data = json.loads(resp.read(4 << 20))
        return data["releases"]

    def pick(self, name, version=None):
        """Newest release, or the one asked for."""
        found = self.releases(name)
        if version is not None:
            found = [r for r in found if r["version"] == version]
        if not found:
            raise InstallError("no release of %s fits" % name)
        return max(found, key=lambda r: [int(p) for p in re.findall(r"\d+", r["version"])])

    def download(self, release, folder):
        """Fetch the archive of a release and return its path."""
        url = urljoin(self.base, release["file"])
        name = os.path.basename(urlsplit(url).path)
        target = os.path.join(folder, name)
        digest = hashlib.sha256()
        size = 0
        with self.open(url) as resp, open(target, "wb") as out:
            for block in iter(lambda: resp.read(1 << 16), b""):
                size += len(block)
                if size > MAX_DOWNLOAD:
                    raise InstallError("%s is larger than expected" % name)
                digest.update(block)
                out.write(block)
        if digest.hexdigest() != release["sha256"]:
            os.unlink(target)
            raise InstallError("%s does not have the published checksum" % name)
        log.info("fetched %s (%d KiB)", name, size >> 10)
        return target


def unpack_zip(archive, dest):
    """Unpack a wheel-like archive, keeping the x bit of scripts."""
    root = os.path.realpath(dest)
    with zipfile.ZipFile(archive) as zf:
        for info in zf.infolist():
            target = os.path.realpath(os.path.join(root, info.filename))
            if not target.startswith(root + os.sep):
                raise InstallError("odd member %r in %s" % (info.filename, archive))
            if info.is_dir():
                os.makedirs(target, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with zf.open(info) as src, open(target, "wb") as dst:
                shutil.copyfileobj(src, dst)
            if (info.external_attr >> 16) & 0o100:
                os.chmod(target, 0o755)


def plain_members(tar, root):
    """Members of a source archive which are plain files or folders below root."""
    for member in tar.getmembers():
        if member.issym() or member.islnk() or member.isdev():
            log.debug("%r is a link or device, left out", member.name)
            continue
        path = os.path.realpath(os.path.join(root, member.name))
        if os.path.commonpath([root, path]) != root:
            raise InstallError("odd member %r" % member.name)
        member.mode = 0o755 if member.mode & 0o100 else 0o644
        yield member


def unpack_tar(archive, dest):
    root = os.path.realpath(dest)
    with tarfile.open(archive) as tar:
        tar.extractall(root, members=plain_members(tar, root))
    entries = os.listdir(root)
    # most source archives have one folder at the top
    if len(entries) == 1 and os.path.isdir(os.path.join(root, entries[0])):
        return os.path.join(root, entries[0])
    return root


def env_dir(name):
    if not TOOL_NAME.fullmatch(name):
        raise InstallError("%r is not the name of a tool" % name)
    return os.path.join(HOME, "envs", name)


def run_pip(env, source, extras=()):
    """Let the pip of an environment install the unpacked source."""
    spec = source
    if extras:
        spec += "[%s]" % ",".join(extras)
    command = [os.path.join(env, "bin", "python"), "-m", "pip", "install", "--no-index", "--", spec]
    log.debug("running %s", " ".join(shlex.quote(c) for c in command))
    proc = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)
    if proc.returncode != 0:
        log.error("pip said:\n%s", proc.stdout.decode("utf-8", "replace"))
        raise InstallError("pip could not install %s" % os.path.basename(source))


def read_manifest(folder):
    """The tool.json in the archive: which scripts to link, under which names."""
    with open(os.path.join(folder, "tool.json"), encoding="utf-8") as fh:
        manifest = json.load(fh)
    scripts = {}
    for label, script in manifest.get("scripts", {}).items():
        if not TOOL_NAME.fullmatch(label) or not TOOL_NAME.fullmatch(script):
            raise InstallError("unusable script entry %r" % label)
        scripts[label] = script
    return scripts


def link_scripts(env, scripts):
    bindir = os.path.join(HOME, "bin")
    os.makedirs(bindir, mode=0o755, exist_ok=True)
    for label, script in sorted(scripts.items()):
        source = os.path.join(env, "bin", script)
        if not os.access(source, os.X_OK):
            log.warning("%s has no script %s", os.path.basename(env), script)
            continue
        link = os.path.join(bindir, label)
        if os.path.islink(link):
            os.unlink(link)
        os.symlink(source, link)


def save_login(host, token):
    """Keep the token of the tool server for the next call."""
    path = os.path.join(HOME, "login.json")
    os.makedirs(HOME, mode=0o700, exist_ok=True)
    try:
        with open(path) as fh:
            known = json.load(fh)
    except FileNotFoundError:
        known = {}
    known[host] = token
    fd, tmp = tempfile.mkstemp(dir=HOME)
    with os.fdopen(fd, "w") as fh:
        json.dump(known, fh)
    os.replace(tmp, path)


def install(index, name, version=None):
    env = env_dir(name)
    release = index.pick(name, version)
    with tempfile.TemporaryDirectory(prefix="brewer-") as scratch:
        archive = index.download(release, scratch)
        source = os.path.join(scratch, "src")
        os.mkdir(source)
        if archive.endswith((".zip", ".whl")):
            unpack_zip(archive, source)
        else:
            source = unpack_tar(archive, source)
        scripts = read_manifest(source)
        subprocess.run([sys.executable, "-m", "venv", "--clear", env], check=True)
        run_pip(env, source, release.get("extras", ()))
    link_scripts(env, scripts)
    log.info("%s %s is ready", name, release["version"])


def remove(name):
    env = env_dir(name)
    if os.path.isdir(env):
        shutil.rmtree(env)
        log.info("%s removed", name)
    return 0
