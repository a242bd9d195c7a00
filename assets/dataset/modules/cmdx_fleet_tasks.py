"""Maintenance tasks for the kiosk fleet.

A thin layer over Fabric for remote work and over subprocess for what happens
on the control machine.  The web console calls these functions from its worker
queue, with the values that the operator has typed in.
"""
import csv
import datetime as dt
import enum
import json
import logging
import re
import shlex
import subprocess
from pathlib import Path
from typing import Iterable, List, Mapping, Optional, Sequence, Tuple

import paramiko
import yaml
from fabric import Connection
from jinja2 import Environment, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

log = logging.getLogger(__name__)

HOST_NAME = re.compile(r"kiosk-[0-9]{3,5}(?:\.fleet\.example)?")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,79}[a-z0-9]")
VERSION = re.compile(r"[0-9][A-Za-z0-9.+:~-]{0,60}")
INVENTORY_LIMIT = 2_000_000
PLAYBOOKS = Path("/opt/fleet/playbooks")
KNOWN_HOSTS = "/opt/fleet/known_hosts"


class Action(str, enum.Enum):
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    STATUS = "status"


class TaskError(Exception):
    """A task was given something that it cannot work with."""


class Kiosk:
    """One machine of the fleet, seen from the control machine."""

    def __init__(self, name: str, user: str = "fleet") -> None:
        if not HOST_NAME.fullmatch(name):
            raise TaskError("not a kiosk name")
        self.name = name
        self.user = user
        self._connection: Optional[Connection] = None

    @property
    def connection(self) -> Connection:
        if self._connection is None:
            self._connection = Connection(self.name, user=self.user, connect_timeout=15)
            client = self._connection.client
            client.load_host_keys(KNOWN_HOSTS)
            client.set_missing_host_key_policy(paramiko.RejectPolicy())
        return self._connection

    def service(self, unit: str, action: str) -> str:
        """Start, stop, restart a unit, or ask for its state.

        Returns what systemctl has printed.
        """
        verb = Action(action).value
        command = f"systemctl --no-pager {verb} -- {shlex.quote(unit)}"
        result = self.connection.run(command, hide=True, warn=True, timeout=60)
        if result.failed and verb != "status":
            raise TaskError(f"{verb} failed on {self.name}")
        return result.stdout

    def journal(self, unit: str, lines: int = 100, word: Optional[str] = None) -> List[str]:
        """The last lines of the journal of a unit, those with `word` only if one is given."""
        lines = max(1, min(int(lines), 2000))
        command = "journalctl --no-pager -n %d -u %s" % (lines, shlex.quote(unit))
        if word:
            command += " | grep -i -F -e " + shlex.quote(word)
        result = self.connection.run(command, hide=True, warn=True, timeout=60)
        return result.stdout.splitlines()

    def set_motd(self, text: str) -> None:
        """Put a notice on the login screen of the kiosk."""
        notice = "\n".join(line[:72] for line in text.splitlines()[:10])
        self.connection.sudo("tee /etc/motd", in_stream=_stream(notice), hide=True, timeout=30)

    def install(self, package: str, version: Optional[str] = None) -> None:
        if not PACKAGE.fullmatch(package):
            raise TaskError("not a package name")
        wanted = package
        if version is not None:
            if not VERSION.fullmatch(version):
                raise TaskError("not a version")
            wanted = f"{package}={version}"
        self.connection.sudo(f"apt-get install -y --no-install-recommends {wanted}", hide=True, timeout=900)
        log.info("installed %s on %s", wanted, self.name)

    def uptime(self) -> float:
        """Seconds since the kiosk was started."""
        result = self.connection.run("cut -d ' ' -f 1 /proc/uptime", hide=True, timeout=15)
        return float(result.stdout)


def _stream(text: str):
    import io

    return io.StringIO(text + "\n")


def read_inventory(path: Path) -> Mapping[str, Mapping]:
    """The inventory as exported by the asset system."""
    if path.stat().st_size > INVENTORY_LIMIT:
        raise TaskError("inventory is too long")
    with path.open(encoding="utf-8") as source:
        data = yaml.load(source, Loader=yaml.SafeLoader)
    kiosks = data.get("kiosks", {}) if isinstance(data, dict) else {}
    return {name: entry for name, entry in kiosks.items() if HOST_NAME.fullmatch(str(name))}


def run_playbook(name: str, hosts: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run one of the installed playbooks on some kiosks.

    The variables reach Ansible as one JSON document.
    """
    available = {entry.stem: entry for entry in PLAYBOOKS.glob("*.yml")}
    if name not in available:
        raise TaskError("no such playbook")
    for host in hosts:
        if not HOST_NAME.fullmatch(host):
            raise TaskError("not a kiosk name")
    if any("{{" in str(value) or "{%" in str(value) for value in variables.values()):
        raise TaskError("variables must be plain values")
    command = [
        "ansible-playbook",
        "--limit=" + ",".join(hosts),
        "--extra-vars=" + json.dumps(dict(variables)),
        str(available[name]),
    ]
    finished = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=3600, check=False)
    log.info("playbook ended with %d", finished.returncode)
    return finished.returncode


def sync_slides(source: str, kiosks: Iterable[Kiosk]) -> List[str]:
    """Copy a folder of slides to kiosks and name those that could not be reached."""
    failed = []
    for kiosk in kiosks:
        command = ["rsync", "-a", "--delete", "--protect-args", "--", source, f"{kiosk.user}@{kiosk.name}:slides/"]
        try:
            subprocess.run(command, check=True, timeout=600, stdout=subprocess.DEVNULL)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            log.warning("slides did not reach %s", kiosk.name)
            failed.append(kiosk.name)
    return failed


def slide_history(repository: Path, path: str, author: Optional[str] = None) -> List[Tuple[str, str]]:
    command = ["git", "-C", str(repository), "log", "-n", "50", "--format=%h%x09%s"]
    if author:
        command.append("--author=" + re.escape(author))
    command += ["--", path]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    rows = csv.reader(finished.stdout.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [(row[0], row[1]) for row in rows if len(row) > 1]


def render_notice(template: str, kiosk: Kiosk, today: Optional[dt.date] = None) -> str:
    """Fill in a notice that an operator has written."""
    environment = SandboxedEnvironment(undefined=StrictUndefined)
    values = {"name": kiosk.name, "date": (today or dt.date.today()).isoformat()}
    return environment.from_string(template[:2000]).render(values)


def summary(rows: Sequence[Mapping]) -> str:
    environment = Environment(undefined=StrictUndefined, autoescape=True)
    template = environment.from_string("{% for row in rows %}{{ row.name }}: {{ row.state }}\n{% endfor %}")
    return template.render(rows=rows)
