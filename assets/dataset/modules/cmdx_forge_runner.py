"""Build agent: fetches a revision, runs the declared steps in containers, reports back."""
from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import random
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional
from urllib.parse import urlsplit

import requests
import yaml

log = logging.getLogger("forge.runner")

REF_RE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}")
IMAGE_RE = re.compile(r"[a-z0-9][a-z0-9._/-]{0,120}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,60})?")
ENV_NAME_RE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
CLONE_HOSTS = frozenset({"git.forge.example", "mirror.forge.example"})
MAX_PIPELINE_BYTES = 64 * 1024
MAX_STEPS = 40
MAX_LOG_TAIL = 20_000


class RunnerError(Exception):
    """The job cannot go on; the text is shown to the user who started it."""


@dataclass
class Step:
    name: str
    image: str
    argv: List[str]
    env: Dict[str, str] = field(default_factory=dict)
    timeout: int = 600


@dataclass
class Job:
    id: int
    clone_url: str
    ref: str
    pipeline_file: str = ".forge.yml"


class Workspace:
    def __init__(self, root: Path, job: Job) -> None:
        self.root = root
        self.job = job
        self.path = root / f"job-{job.id:08d}"

    def prepare(self) -> None:
        if self.path.exists():
            log.info("removing left-over workspace %s", self.path)
            shutil.rmtree(self.path)
        self.path.mkdir(mode=0o700, parents=True)

    def clone(self) -> None:
        parts = urlsplit(self.job.clone_url)
        if parts.scheme != "https" or parts.hostname not in CLONE_HOSTS:
            raise RunnerError("clone address is not on a configured forge")
        cmd = ["git", "clone", "--no-checkout", "--depth", "50", "--", self.job.clone_url, str(self.path)]
        for attempt in range(3):
            done = subprocess.run(cmd, capture_output=True, text=True, timeout=300)
            if done.returncode == 0:
                return
            log.warning("clone attempt %d failed with code %d", attempt + 1, done.returncode)
            time.sleep(2 ** attempt + random.random())
        raise RunnerError("the repository could not be cloned")

    def checkout(self) -> str:
        ref = self.job.ref.strip()
        if not REF_RE.fullmatch(ref):
            raise RunnerError("unusable ref name")
        self._git("fetch", "--depth", "50", "origin", ref)
        self._git("checkout", "--detach", "FETCH_HEAD")
        sha = self._git("rev-parse", "HEAD").strip()
        log.info("job %d is at %s", self.job.id, sha)
        return sha

    def _git(self, *args: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.path), *args],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        )
        if done.returncode != 0:
            raise RunnerError(f"git {args[0]} failed")
        return done.stdout

    def load_pipeline(self) -> List[Step]:
        base = self.path.resolve()
        source = (base / self.job.pipeline_file).resolve()
        if base not in source.parents:
            raise RunnerError("pipeline file lies outside the repository")
        if source.stat().st_size > MAX_PIPELINE_BYTES:
            raise RunnerError("pipeline file is too long")
        try:
            data = yaml.safe_load(source.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as exc:
            raise RunnerError("pipeline file is not readable YAML") from exc
        if not isinstance(data, dict) or not isinstance(data.get("steps"), list):
            raise RunnerError("pipeline file has no list of steps")
        return [parse_step(raw) for raw in data["steps"][:MAX_STEPS]]


def parse_step(raw: Any) -> Step:
    if not isinstance(raw, dict):
        raise RunnerError("a step must be a mapping")
    image = str(raw.get("image", "python:3.11"))
    if not IMAGE_RE.fullmatch(image):
        raise RunnerError("unusable image name")
    run = raw.get("run", [])
    argv = shlex.split(run) if isinstance(run, str) else [str(item) for item in run]
    if not argv:
        raise RunnerError("a step needs something to run")
    env: Dict[str, str] = {}
    for key, value in dict(raw.get("env") or {}).items():
        if not ENV_NAME_RE.fullmatch(str(key)):
            raise RunnerError("unusable variable name")
        env[str(key)] = str(value)
    timeout = max(10, min(int(raw.get("timeout", 600)), 3600))
    return Step(name=str(raw.get("name", argv[0]))[:80], image=image, argv=argv, env=env, timeout=timeout)


class ContainerExecutor:
    """Runs one step after another in throw-away containers."""

    def __init__(self, workspace: Workspace, network: str = "forge-build") -> None:
        self.workspace = workspace
        self.network = network

    def run(self, step: Step) -> int:
        cmd = ["docker", "run", "--rm", "--network", self.network, "-v", f"{self.workspace.path}:/src", "-w", "/src"]
        for key, value in sorted(step.env.items()):
            cmd += ["-e", f"{key}={value}"]
        cmd.append(step.image)
        cmd.extend(step.argv)
        started = time.monotonic()
        try:
            done = subprocess.run(cmd, stdin=subprocess.DEVNULL, timeout=step.timeout)
        except subprocess.TimeoutExpired:
            log.error("step ran past %d seconds", step.timeout)
            return 124
        log.info("step ended with %d after %.1fs", done.returncode, time.monotonic() - started)
        return done.returncode

    def remote_df(self, host: str, folder: str) -> str:
        """Free space of `folder` on a build host, as df prints it."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,60}", host):
            raise RunnerError("unusable host name")
        line = "df -P -- " + shlex.quote(folder) + " | tail -n 1"
        done = subprocess.run(
            ["ssh", "-o", "BatchMode=yes", host, line],
            capture_output=True, text=True, timeout=30,
        )
        return done.stdout.strip()


def cache_key(lockfile: Path, image: str) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    digest.update(image.encode())
    digest.update(lockfile.read_bytes())
    return digest.hexdigest()


def remember_timings(folder: Path, timings: Dict[str, float]) -> None:
    target = folder / "timings.bin"
    handle, name = tempfile.mkstemp(dir=str(folder))
    with os.fdopen(handle, "wb") as out:
        pickle.dump(timings, out, protocol=4)
    os.replace(name, target)


def poll(session: requests.Session, base_url: str) -> Optional[Job]:
    reply = session.post(f"{base_url}/api/runner/next", json={"slots": 1}, timeout=20)
    if reply.status_code == 204:
        return None
    reply.raise_for_status()
    data = json.loads(reply.content)
    try:
        return Job(id=int(data["id"]), clone_url=str(data["clone_url"]), ref=str(data["ref"]))
    except (KeyError, TypeError, ValueError) as exc:
        raise RunnerError("the server sent an incomplete job") from exc


def prune_images() -> None:
    """Called once a night by the supervisor."""
    for what in ("container", "image", "volume"):
        done = subprocess.run(f"docker {what} prune --force", shell=True, capture_output=True, text=True)
        if done.returncode:
            log.warning("prune of %ss failed: %d", what, done.returncode)


def report(session: requests.Session, base_url: str, job: Job, code: int, tail: str) -> None:
    body = {"id": job.id, "code": code, "log": tail[-MAX_LOG_TAIL:]}
    for delay in (0, 2, 5, 15):
        time.sleep(delay)
        reply = session.post(f"{base_url}/api/runner/done", json=body, timeout=20)
        if reply.ok:
            return
    log.error("result of job %d could not be reported", job.id)
