"""
Execution side of the Millrace workflow engine.

A run belongs to a flow, a flow belongs to a team. The worker process pulls
runs from the database, evaluates the conditions between the steps, starts the
steps and stores what they have produced.
"""
import ast
import hashlib
import hmac
import ipaddress
import json
import logging
import os
import pickle
import random
import shutil
import socket
import stat
import string
import subprocess
import tarfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import urlsplit

import psycopg2.extras
import requests
from jinja2 import Environment, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

logger = logging.getLogger("millrace.worker")

STATES = ("queued", "running", "done", "failed", "cancelled")
STEP_ENV_NAMES = ("PATH", "LANG", "TZ", "HOME")
ARCHIVE_LIMIT = 512 * 1024 * 1024
ARCHIVE_MEMBERS = 20000
COMPARISONS = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Gt: lambda a, b: a > b,
    ast.Lt: lambda a, b: a < b,
    ast.In: lambda a, b: a in b,
}


class FlowError(Exception):
    """Something in the definition or the data of a flow is not usable."""


def retry_delay(attempt: int, base: float = 2.0, cap: float = 600.0) -> float:
    """Exponential delay with some spread, so that workers do not wake together."""
    return min(cap, base ** attempt) * random.uniform(0.7, 1.3)


def evaluate_condition(condition: str, outputs: Dict[str, Any]) -> bool:
    """
    Decide whether the edge between two steps is followed.

    A condition is a chain of comparisons joined by ``and`` / ``or``; names
    refer to the outputs of earlier steps.
    """

    def value_of(node: ast.AST) -> Any:
        if isinstance(node, ast.Name):
            try:
                return outputs[node.id]
            except KeyError:
                raise FlowError("condition uses an output which does not exist")
        if isinstance(node, (ast.Constant, ast.List, ast.Tuple)):
            return ast.literal_eval(node)
        if isinstance(node, ast.BoolOp):
            parts = [bool(value_of(part)) for part in node.values]
            return all(parts) if isinstance(node.op, ast.And) else any(parts)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            compare = COMPARISONS.get(type(node.ops[0]))
            if compare is not None:
                return compare(value_of(node.left), value_of(node.comparators[0]))
        raise FlowError("condition holds something other than comparisons")

    if not condition.strip():
        return True
    try:
        tree = ast.parse(condition, mode="eval")
    except SyntaxError as error:
        raise FlowError("condition cannot be read") from error
    result = bool(value_of(tree.body))
    logger.debug("condition with %d outputs gave %s", len(outputs), result)
    return result


class RunStore:
    """Runs and their steps in the database."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def cursor(self) -> Any:
        return self.connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor)

    def find(self, team_id: int, filters: Dict[str, str], page: int = 0) -> List[Dict[str, Any]]:
        """List the runs of a team, narrowed by the fields of the search form."""
        where = ["f.team_id = %s"]
        values: List[Any] = [team_id]
        if filters.get("flow"):
            where.append("f.name = %s")
            values.append(filters["flow"])
        if filters.get("state"):
            if filters["state"] not in STATES:
                raise FlowError("state is not known")
            where.append("r.state = '%s'" % filters["state"])
        if filters.get("since"):
            where.append("r.started >= %s")
            values.append(datetime.fromisoformat(filters["since"]))
        if filters.get("label"):
            where.append("r.labels ->> 'name' LIKE %s")
            values.append("%" + filters["label"] + "%")
        statement = (
            "SELECT r.id, f.name, r.state, r.started, r.ended FROM run r "
            "JOIN flow f ON f.id = r.flow_id WHERE " + " AND ".join(where)
        )
        statement += " ORDER BY r.started DESC LIMIT 50 OFFSET %s"
        values.append(max(0, page) * 50)
        with self.cursor() as cursor:
            cursor.execute(statement, values)
            return [dict(row) for row in cursor]

    def cancel(self, run_id: int, user: Any) -> None:
        """Cancel a run that has not ended; its running steps are told to stop."""
        with self.connection, self.cursor() as cursor:
            cursor.execute(
                "SELECT r.state, f.team_id FROM run r JOIN flow f ON f.id = r.flow_id WHERE r.id = %s FOR UPDATE",
                (run_id,),
            )
            run = cursor.fetchone()
            if run is None:
                raise FlowError("run does not exist")
            if run["team_id"] not in user.operated_teams:
                raise PermissionError("run belongs to another team")
            if run["state"] not in ("queued", "running"):
                raise FlowError("run has ended already")
            cursor.execute("UPDATE run SET state = 'cancelled', ended = now() WHERE id = %s", (run_id,))
            cursor.execute("UPDATE step SET stop = true WHERE run_id = %s AND state = 'running'", (run_id,))
        logger.info("run %d cancelled by user %d", run_id, user.id)

    def purge(self, days: int = 90) -> int:
        """Drop runs which ended long ago."""
        edge = datetime.now(timezone.utc) - timedelta(days=days)
        with self.connection, self.cursor() as cursor:
            cursor.execute("DELETE FROM run WHERE ended < %s", (edge,))
            return cursor.rowcount


class ResultStore:
    """Keeps the return values of Python steps on the shared volume."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.folder = folder
        self.key = key

    def path_of(self, run_id: int, step: str) -> Path:
        name = hashlib.sha256(step.encode("utf-8")).hexdigest()[:24]
        return self.folder / str(int(run_id)) / (name + ".result")

    def save(self, run_id: int, step: str, value: Any) -> None:
        path = self.path_of(run_id, step)
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        data = pickle.dumps(value, protocol=4)
        mark = hmac.new(self.key, data, hashlib.sha256).digest()
        descriptor = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(mark + data)
        logger.debug("result of run %d stored, %d bytes", run_id, len(data))

    def load(self, run_id: int, step: str) -> Any:
        """Return the value of an earlier step, whichever worker has run it."""
        path = self.path_of(run_id, step)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            raise FlowError("step has not produced a result")
        mark, data = raw[:32], raw[32:]
        expected = hmac.new(self.key, data, hashlib.sha256).digest()
        if not hmac.compare_digest(mark, expected):
            raise FlowError("stored result does not belong to this installation")
        value = pickle.loads(data)
        logger.debug("result of run %d loaded, %d bytes", run_id, len(data))
        return value


REPORT = Environment(autoescape=True).from_string(
    "<table>{% for r in runs %}<tr><td>{{ r.name }}</td><td>{{ r.state }}</td></tr>{% endfor %}</table>"
)


def report_table(runs: List[Dict[str, Any]]) -> str:
    return REPORT.render(runs=runs)


def render_parameters(template: Dict[str, str], context: Dict[str, Any]) -> Dict[str, str]:
    """Fill in the parameters of a step from the outputs of the steps before."""
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    environment.filters["day"] = lambda moment: moment.strftime("%Y-%m-%d")
    rendered = {}
    for name, text in template.items():
        try:
            rendered[name] = environment.from_string(text).render(**context)
        except Exception as error:
            logger.info("parameter template failed: %s", type(error).__name__)
            raise FlowError("parameter could not be filled in") from error
        if len(rendered[name]) > 8192:
            raise FlowError("parameter is too long")
    return rendered


def run_command_step(step: Dict[str, Any], parameters: Dict[str, str], workdir: Path) -> Tuple[int, str]:
    """
    Run the program of a step and return its status and the end of its output.

    Every word of the command may hold ``$name`` placeholders.
    """
    words = []
    for word in step["command"]:
        words.append(string.Template(word).safe_substitute(parameters))
    environment = {name: os.environ[name] for name in STEP_ENV_NAMES if name in os.environ}
    environment["MILLRACE_RUN"] = str(step["run_id"])
    started = time.monotonic()
    try:
        process = subprocess.run(
            words, cwd=str(workdir), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=step.get("timeout", 3600),
        )
    except subprocess.TimeoutExpired as late:
        logger.warning("step %d stopped after %ds", step["id"], late.timeout)
        return 124, ""
    output = process.stdout[-16000:].decode("utf-8", "replace")
    logger.info("step %d ended with %d after %.1fs", step["id"], process.returncode, time.monotonic() - started)
    return process.returncode, output


def unpack_inputs(archive: Path, workdir: Path) -> int:
    """Unpack the archive which a client has attached to a run."""
    base = workdir.resolve()
    written = size = 0
    with tarfile.open(str(archive)) as bundle:
        for count, member in enumerate(bundle):
            if count >= ARCHIVE_MEMBERS:
                raise FlowError("archive has too many members")
            if not (member.isfile() or member.isdir()):
                logger.info("archive member of type %r left out", member.type)
                continue
            target = (base / member.name).resolve()
            if target != base and base not in target.parents:
                raise FlowError("archive member lies outside")
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            size += member.size
            if size > ARCHIVE_LIMIT:
                raise FlowError("archive is too large")
            target.parent.mkdir(parents=True, exist_ok=True)
            with bundle.extractfile(member) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out)
            target.chmod(stat.S_IRUSR | stat.S_IWUSR | (member.mode & stat.S_IXUSR))
            written += 1
    return written


def notify_callback(url: str, run: Dict[str, Any], secret: bytes, proxy: Optional[str] = None) -> bool:
    """Tell the address given with the run that it has ended."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise FlowError("callback needs an https address")
    for entry in socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM):
        address = ipaddress.ip_address(entry[4][0])
        if not address.is_global or address.is_multicast:
            raise FlowError("callback address cannot be used")
    body = json.dumps({"run": run["id"], "state": run["state"]}).encode("utf-8")
    signature = hmac.new(secret, body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-Millrace-Signature": signature}
    proxies = {"https": proxy} if proxy else None
    for attempt in range(3):
        try:
            answer = requests.post(
                url, data=body, headers=headers, timeout=10, allow_redirects=False, proxies=proxies,
            )
        except requests.RequestException as error:
            logger.info("callback of run %d failed: %s", run["id"], type(error).__name__)
            time.sleep(retry_delay(attempt))
            continue
        if answer.status_code < 500:
            return answer.ok
        time.sleep(retry_delay(attempt))
    return False
