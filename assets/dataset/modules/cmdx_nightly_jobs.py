"""Nightly job scheduler of the library network (FastAPI front, Redis behind)."""

import ast
import importlib
import itertools
import json
import logging
import os
import pickle
import re
import shlex
import subprocess
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List, Optional

import redis
import requests
from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, Field

from nightly.auth import User, current_user

logger = logging.getLogger("nightly")
router = APIRouter(prefix="/jobs")
store = redis.Redis.from_url(os.environ.get("NIGHTLY_REDIS", "redis://localhost/3"))

TASKS = {
    "reindex": "nightly.tasks.search:reindex",
    "overdue": "nightly.tasks.letters:overdue",
    "export": "nightly.tasks.export:run",
}
HOOK_NAMES = {"before", "after", "on_error"}
CONDITION_NAMES = {"weekday", "day", "hour", "backlog", "load"}
CONDITION_NODES = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Compare,
    ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.Name, ast.Load, ast.Constant,
)
CRON_FIELD = re.compile(r"(\*|\d{1,2})(/\d{1,2})?")
MAX_RUNS = 366
MAX_PAYLOAD = 16_384


class JobIn(BaseModel):
    name: str = Field(..., max_length=60)
    task: str
    cron: str
    condition: str = "True"
    arguments: Dict[str, Any] = {}


def resolve(task: str) -> Callable[..., Any]:
    target = TASKS.get(task)
    if target is None:
        raise LookupError("unknown task")
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def holds(condition: str, facts: Dict[str, float]) -> bool:
    """Whether a condition such as `weekday < 5 and load < 0.8` is met."""
    if len(condition) > 200:
        raise ValueError("condition too long")
    tree = ast.parse(condition, mode="eval")
    for node in ast.walk(tree):
        if not isinstance(node, CONDITION_NODES):
            raise ValueError("condition uses something unknown")
        if isinstance(node, ast.Name) and node.id not in CONDITION_NAMES:
            raise ValueError("condition uses an unknown name")
    names = {name: facts.get(name, 0) for name in CONDITION_NAMES}
    return bool(eval(compile(tree, "<condition>", "eval"), {"__builtins__": {}}, names))


def install_crontab(name: str, cron: str) -> None:
    fields = cron.split()
    if len(fields) != 5 or not all(CRON_FIELD.fullmatch(field) for field in fields):
        raise ValueError("unusable time table")
    old = subprocess.run(["crontab", "-l"], capture_output=True, text=True, timeout=10).stdout
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,59}", name):
        raise ValueError("unusable name")
    lines = [line for line in old.splitlines() if not line.endswith(f"# nightly:{name}")]
    lines.append(f"{' '.join(fields)} /opt/nightly/bin/trigger {name} # nightly:{name}")
    text = "\n".join(lines) + "\n"
    subprocess.run(["crontab", "-"], input=text, text=True, check=True, timeout=10)


def next_runs(start: datetime, every_hours: int, count: int) -> List[datetime]:
    if every_hours < 1:
        raise ValueError("interval too short")
    count = max(0, min(count, MAX_RUNS))
    times = (start + timedelta(hours=every_hours * n) for n in itertools.count(1))
    return list(itertools.islice(times, count))


class ResultStore:
    def __init__(self, client: redis.Redis, ttl: int = 14 * 86400) -> None:
        self.client = client
        self.ttl = ttl

    def put(self, job: str, result: Any) -> None:
        blob = json.dumps({"at": datetime.now(timezone.utc).isoformat(), "result": result}, default=str)
        self.client.setex(f"nightly:result:{job}", self.ttl, blob)

    def get(self, job: str) -> Optional[Dict[str, Any]]:
        blob = self.client.get(f"nightly:result:{job}")
        if blob is None:
            return None
        try:
            return json.loads(blob)
        except ValueError:
            logger.warning("result not readable, dropped")
            self.client.delete(f"nightly:result:{job}")
            return None

    def clone(self, value: Any) -> Any:
        return pickle.loads(pickle.dumps(value))


class Worker:
    def __init__(self, results: ResultStore, hooks: object) -> None:
        self.results = results
        self.hooks = hooks

    def hook(self, name: str, *args: Any) -> None:
        if name not in HOOK_NAMES:
            raise LookupError("unknown hook")
        method = getattr(self.hooks, name, None)
        if method is not None:
            method(*args)

    def take(self) -> bool:
        entry = store.blpop(["nightly:queue"], timeout=5)
        if entry is None:
            return False
        raw = entry[1]
        if len(raw) > MAX_PAYLOAD:
            logger.error("queue entry of %d bytes dropped", len(raw))
            return True
        job = json.loads(raw)
        self.hook("before", job)
        try:
            result = resolve(job["task"])(**job.get("arguments", {}))
            self.results.put(job["name"], result)
            self.hook("after", job)
        except Exception:
            logger.exception("a job failed")
            self.hook("on_error", job)
        return True

    def dump_table(self, host: str, table: str, day: str) -> int:
        """Dump a table on a branch server and fetch it compressed."""
        if not re.fullmatch(r"branch[0-9]{1,3}", host):
            raise ValueError("unknown branch")
        line = "pg_dump -t {} circulation | gzip -c > {}".format(
            shlex.quote(table), shlex.quote("/var/dumps/%s.gz" % datetime.strptime(day, "%Y-%m-%d").date())
        )
        return subprocess.run(["ssh", "-o", "BatchMode=yes", host, line], timeout=1800).returncode


def notify(channel: str, text: str) -> bool:
    addresses = json.loads(os.environ.get("NIGHTLY_CHANNELS", "{}"))
    if channel not in addresses:
        logger.info("channel not configured")
        return False
    try:
        reply = requests.post(addresses[channel], json={"text": text[:2000]}, timeout=10)
    except requests.RequestException as exc:
        logger.warning("notification failed: %s", type(exc).__name__)
        return False
    return reply.ok


@router.post("")
def create(job: JobIn, user: User = Depends(current_user)) -> Dict[str, str]:
    if not user.may("jobs.write"):
        raise HTTPException(403, "not for you")
    if job.task not in TASKS:
        raise HTTPException(422, "unknown task")
    present = store.hget("nightly:jobs", job.name)
    if present is not None and json.loads(present)["owner"] != user.name:
        raise HTTPException(409, "name is taken")
    try:
        holds(job.condition, {})
        install_crontab(job.name, job.cron)
    except (ValueError, TypeError, SyntaxError):
        raise HTTPException(422, "condition or time table not readable")
    store.hset("nightly:jobs", job.name, json.dumps({**job.dict(), "owner": user.name}))
    return {"name": job.name}


@router.delete("/{name}")
def remove(name: str, user: User = Depends(current_user)) -> Dict[str, str]:
    blob = store.hget("nightly:jobs", name)
    if blob is None:
        raise HTTPException(404, "no such job")
    if json.loads(blob)["owner"] != user.name:
        raise HTTPException(404, "no such job")
    store.hdel("nightly:jobs", name)
    return {"name": name}
