"""Hub of the Lookout monitoring suite: agents, checks, graphs and alerts.

The hub keeps its data in PostgreSQL and talks JSON to the browser and to the agents.
"""
from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import os
import random
import re
import secrets
import ssl
import tarfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import aiohttp
import asyncpg
import jinja2
import ldap3
import yaml
from aiohttp import web
from jinja2.sandbox import SandboxedEnvironment
from ldap3.utils.conv import escape_filter_chars

logger = logging.getLogger("lookout.hub")
routes = web.RouteTableDef()

HOST_PATTERN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")
AGGREGATES = {"avg": "avg(value)", "max": "max(value)", "min": "min(value)", "last": "(array_agg(value ORDER BY ts DESC))[1]"}
METRIC_BYTES = 2 * 1024 * 1024
MAX_POINTS = 5000
PACK_BYTES = 50 * 1024 * 1024


@routes.get("/api/series/{host_id}")
async def series(request: web.Request) -> web.Response:
    """Points of one metric, thinned to buckets the browser can draw."""
    user = request["user"]
    pool: asyncpg.Pool = request.app["pool"]
    try:
        host_id = int(request.match_info["host_id"])
        start = float(request.query.get("from", time.time() - 3600))
        end = float(request.query.get("to", time.time()))
        points = min(int(request.query.get("points", "600")), MAX_POINTS)
    except ValueError:
        raise web.HTTPBadRequest(reason="numbers expected")
    if end <= start or points < 1:
        raise web.HTTPBadRequest(reason="empty range")
    metric = request.query.get("metric", "load")
    aggregate = AGGREGATES.get(request.query.get("fn", "avg"))
    if aggregate is None:
        raise web.HTTPBadRequest(reason="unknown function")

    team = await pool.fetchval("SELECT team_id FROM host WHERE id = $1", host_id)
    if team is None or team not in user.team_ids:
        raise web.HTTPNotFound()
    bucket = max(1.0, (end - start) / points)
    rows = await pool.fetch(
        f"SELECT floor(ts / $1) * $1 AS t, {aggregate} AS v FROM sample "
        "WHERE host_id = $2 AND metric = $3 AND ts BETWEEN $4 AND $5 GROUP BY t ORDER BY t LIMIT $6",
        bucket, host_id, metric, start, end, points,
    )
    return web.json_response({"metric": metric, "points": [[row["t"], row["v"]] for row in rows]})


@routes.post("/api/tools/trace")
async def trace_route(request: web.Request) -> web.Response:
    """Run a short trace from the hub to a host and hand back the lines."""
    user = request["user"]
    if not user.has_role("operator"):
        raise web.HTTPForbidden()
    body = await request.json()
    host = str(body.get("host", "")).strip()
    hops = str(max(1, min(30, int(body.get("hops", 15)))))
    if not HOST_PATTERN.fullmatch(host):
        raise web.HTTPBadRequest(reason="not a host name")

    process = await asyncio.create_subprocess_exec(
        "traceroute", "-m", hops, "-w", "2", host,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), timeout=60)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
        raise web.HTTPGatewayTimeout()
    lines = output.decode("utf-8", "replace").splitlines()
    logger.info("trace by user %d, %d lines, status %s", user.id, len(lines), process.returncode)
    return web.json_response({"lines": lines[:60], "status": process.returncode})


@routes.get("/graph/{name}")
async def graph_image(request: web.Request) -> web.StreamResponse:
    root: Path = request.app["graph_dir"].resolve()
    user = request["user"]
    name = request.query.get("variant") or request.match_info["name"]
    candidate = (root / user.home_team / name).resolve()
    if root / user.home_team not in candidate.parents:
        raise web.HTTPNotFound()
    if candidate.suffix not in (".png", ".svg") or not candidate.is_file():
        raise web.HTTPNotFound()
    age = time.time() - candidate.stat().st_mtime
    headers = {"Cache-Control": "private, max-age=%d" % max(0, 60 - int(age))}
    if candidate.suffix == ".svg":
        headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    return web.FileResponse(candidate, headers=headers)


class AgentRegistry:
    """Keeps the agents, their keys and the connections to them."""

    def __init__(self, pool: asyncpg.Pool, key_dir: Path, ca_bundle: Optional[str] = None) -> None:
        self.pool = pool
        self.key_dir = key_dir
        self.ca_bundle = ca_bundle
        self._failures: Dict[int, int] = {}

    def backoff(self, agent_id: int) -> float:
        count = self._failures.get(agent_id, 0)
        return min(300.0, 2.0 ** count) * (0.8 + 0.4 * random.random())

    async def enroll(self, name: str, join_code: str, address: str) -> str:
        """Accept a new agent which knows the join code; its key is returned once."""
        row = await self.pool.fetchrow(
            "SELECT id, code, team_id, expires FROM join_code WHERE prefix = $1 AND used = false", join_code[:8]
        )
        if row is None or row["expires"] < time.time():
            raise PermissionError("join code unknown or too old")
        if not hmac.compare_digest(row["code"].encode(), join_code.encode()):
            raise PermissionError("join code unknown or too old")
        if not HOST_PATTERN.fullmatch(name) or len(name) > 64:
            raise ValueError("agent name")
        if not HOST_PATTERN.fullmatch(address):
            raise ValueError("agent address")
        key = secrets.token_hex(32)
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute("UPDATE join_code SET used = true WHERE id = $1", row["id"])
            agent_id = await connection.fetchval(
                "INSERT INTO agent (name, team_id, address, key_hash) VALUES ($1, $2, $3, $4) RETURNING id",
                name, row["team_id"], address, hashlib.sha256(key.encode()).hexdigest(),
            )
        path = self.key_dir / f"agent-{agent_id}.key"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as handle:
            handle.write(key + "\n")
        logger.info("agent %d enrolled for team %d", agent_id, row["team_id"])
        return key

    async def poll(self, agent: Dict[str, Any]) -> List[Dict[str, Any]]:
        """Fetch the metrics of one agent."""
        context = ssl.create_default_context(cafile=self.ca_bundle)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        key = (self.key_dir / f"agent-{int(agent['id'])}.key").read_text().strip()
        timeout = aiohttp.ClientTimeout(total=15, connect=5)
        samples: List[Dict[str, Any]] = []
        try:
            async with aiohttp.ClientSession(timeout=timeout) as http:
                async with http.get(
                    f"https://{agent['address']}:6180/metrics",
                    headers={"X-Agent-Key": key},
                    ssl=context,
                    allow_redirects=False,
                ) as response:
                    response.raise_for_status()
                    chunks, size = [], 0
                    async for chunk in response.content.iter_chunked(65536):
                        size += len(chunk)
                        if size > METRIC_BYTES:
                            raise ValueError("agent sent too much")
                        chunks.append(chunk)
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            self._failures[agent["id"]] = self._failures.get(agent["id"], 0) + 1
            logger.warning("agent %d: %s", agent["id"], type(error).__name__)
            return samples
        self._failures.pop(agent["id"], None)
        for line in b"".join(chunks).splitlines()[:MAX_POINTS]:
            entry = json.loads(line)
            samples.append({"metric": str(entry["m"])[:80], "value": float(entry["v"]), "ts": float(entry["t"])})
        return samples

    async def rotate(self, agent_id: int, user: Any) -> None:
        """Mark an agent so that its key is changed with the next poll."""
        team = await self.pool.fetchval("SELECT team_id FROM agent WHERE id = $1", agent_id)
        if team is None:
            raise LookupError(agent_id)
        if not user.is_admin and team not in user.led_team_ids:
            raise PermissionError("agent of another team")
        await self.pool.execute("UPDATE agent SET rotate = true WHERE id = $1", agent_id)
        self._failures.pop(agent_id, None)


def render_alert(template_text: str, event: Dict[str, Any], limit: int = 4000) -> str:
    """Fill the message template of a team with the data of one event."""
    environment = SandboxedEnvironment(undefined=jinja2.ChainableUndefined, autoescape=False)
    environment.filters["short"] = lambda value: str(value)[:60]
    try:
        template = environment.from_string(template_text)
        text = template.render(
            host=event["host"], check=event["check"], state=event["state"], since=event.get("since"),
        )
    except jinja2.TemplateError as error:
        logger.warning("alert template of check %s failed: %s", event.get("check_id"), type(error).__name__)
        text = "%(host)s: %(check)s is %(state)s" % event
    return text[:limit]


def load_check_pack(archive: Path, checks_dir: Path) -> List[Dict[str, Any]]:
    """Unpack a pack of check definitions and return those that are complete."""
    base = checks_dir.resolve() / archive.name.split(".")[0]
    base.mkdir(parents=True, exist_ok=True)
    definitions: List[Dict[str, Any]] = []
    total = 0
    with tarfile.open(archive, "r:gz") as pack:
        for member in pack:
            if not member.isfile() or not member.name.endswith((".yml", ".txt")):
                continue
            total += member.size
            if total > PACK_BYTES:
                raise ValueError("pack too large")
            target = (base / member.name).resolve()
            if base not in target.parents:
                raise ValueError("pack holds a file for another folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            source = pack.extractfile(member)
            target.write_bytes(source.read())
            if target.suffix == ".yml":
                definition = yaml.safe_load(target.read_text("utf-8"))
                if isinstance(definition, dict) and {"name", "kind", "interval"} <= definition.keys():
                    definitions.append(definition)
    logger.info("pack unpacked: %d definitions, %d bytes", len(definitions), total)
    return definitions


def find_contact(connection: ldap3.Connection, base_dn: str, login: str) -> Optional[Dict[str, str]]:
    """Mail and phone of the person an alert goes to."""
    person = "(&(objectClass=inetOrgPerson)(uid=%s))" % escape_filter_chars(login)
    connection.search(base_dn, person, attributes=["mail", "mobile", "cn"], size_limit=2)
    if len(connection.entries) != 1:
        logger.info("contact lookup gave %d entries", len(connection.entries))
        return None
    entry = connection.entries[0]
    return {"name": str(entry.cn), "mail": str(entry.mail), "phone": str(entry.mobile)}


@routes.post("/api/events/{event_id}/ack")
async def acknowledge(request: web.Request) -> web.Response:
    user = request["user"]
    pool: asyncpg.Pool = request.app["pool"]
    event_id = int(request.match_info["event_id"])
    body = await request.json()
    comment = str(body.get("comment", ""))[:500]
    event = await pool.fetchrow(
        "SELECT e.id, h.team_id, e.acked_by FROM event e JOIN host h ON h.id = e.host_id WHERE e.id = $1", event_id
    )
    if event is None or event["team_id"] not in user.team_ids:
        raise web.HTTPNotFound()
    if event["acked_by"] is not None:
        raise web.HTTPConflict(reason="acknowledged before")
    await pool.execute("UPDATE event SET acked_by = $1, comment = $2 WHERE id = $3", user.id, comment, event_id)
    logger.info("event %d acknowledged by %d: %r", event_id, user.id, comment)
    return web.json_response({"ok": True})


def search_log(lines: List[str], needle: str, ignore_case: bool = True, limit: int = 200) -> List[Dict[str, Any]]:
    """Lines of an agent's log which contain the words of the search box, with positions."""
    words = [word for word in needle.split() if word][:8]
    if not words:
        return []
    flags = re.IGNORECASE if ignore_case else 0
    pattern = re.compile("|".join(re.escape(word) for word in words), flags)
    hits: List[Dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        spans = [match.span() for match in pattern.finditer(line)]
        if spans:
            hits.append({"line": number, "text": line[:1000], "spans": spans})
        if len(hits) >= limit:
            break
    return hits


def graph_key(host_id: int, metric: str, span: int) -> str:
    return hashlib.sha1(f"{host_id}/{metric}/{span}".encode(), usedforsecurity=False).hexdigest()[:16]
