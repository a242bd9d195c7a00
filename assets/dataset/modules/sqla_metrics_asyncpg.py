import asyncio
import datetime as dt
import json
import logging
import pickle
import secrets
import time
import urllib.parse
from typing import AsyncIterator, Dict, List, Mapping, Optional, Tuple

import asyncpg
from aiohttp import web

logger = logging.getLogger("meterhub.store")

GRAINS = {"1m": "minute", "1h": "hour", "1d": "day"}
AGGREGATES = {"avg": "avg(value)", "max": "max(value)", "min": "min(value)", "last": "last(value, ts)"}
TAG_COLUMNS = ("site", "device", "unit", "firmware")
MAX_POINTS = 20_000
MAX_BODY = 2 * 1024 * 1024


class StoreError(Exception):
    """Raised for requests the store cannot answer."""


def _stamp(text: str) -> dt.datetime:
    value = dt.datetime.fromisoformat(text)
    if value.tzinfo is None:
        value = value.replace(tzinfo=dt.timezone.utc)
    return value


class MetricStore:
    """Time series of the building meters, kept in a Timescale hypertable."""

    def __init__(self, pool: asyncpg.Pool, schema: str = "meter") -> None:
        self.pool = pool
        self.schema = schema
        self._known: Dict[str, int] = {}

    @classmethod
    async def open(cls, dsn: str) -> "MetricStore":
        pool = await asyncpg.create_pool(dsn, min_size=2, max_size=12, command_timeout=30)
        async with pool.acquire() as con:
            version = await con.fetchval("SELECT max(version) FROM meter.schema_version")
        if version is None or version < 7:
            await pool.close()
            raise StoreError("schema is too old, run the migrations first")
        return cls(pool)

    async def series_id(self, name: str, tags: Mapping[str, str]) -> int:
        """Id of a series, created on first use."""
        key = name + "\0" + json.dumps(tags, sort_keys=True)
        if key in self._known:
            return self._known[key]
        async with self.pool.acquire() as con:
            found = await con.fetchval(
                "SELECT id FROM meter.series WHERE name = $1 AND tags = $2::jsonb",
                name,
                json.dumps(tags),
            )
            if found is None:
                found = await con.fetchval(
                    "INSERT INTO meter.series (name, tags, created) VALUES ($1, $2::jsonb, now()) RETURNING id",
                    name,
                    json.dumps(tags),
                )
        self._known[key] = found
        return found

    async def write(self, points: List[Tuple[str, dict, float, str]]) -> int:
        if len(points) > MAX_POINTS:
            raise StoreError("too many points in one batch")
        rows = []
        for name, tags, value, when in points:
            rows.append((await self.series_id(name, tags), _stamp(when), float(value)))
        async with self.pool.acquire() as con:
            async with con.transaction():
                await con.executemany(
                    "INSERT INTO meter.points (series_id, ts, value) VALUES ($1, $2, $3)"
                    " ON CONFLICT (series_id, ts) DO UPDATE SET value = excluded.value",
                    rows,
                )
        return len(rows)

    async def find_series(self, pattern: str, filters: Mapping[str, str], limit: int = 100) -> List[asyncpg.Record]:
        conditions = []
        params: list = []
        if pattern:
            params.append(pattern.replace("*", "%"))
            conditions.append(f"name LIKE ${len(params)}")
        for column, wanted in filters.items():
            if column not in TAG_COLUMNS:
                raise StoreError(f"cannot filter by {column!r}")
            params.append(wanted)
            conditions.append(f"tags->>'{column}' = ${len(params)}")
        where = "WHERE " + " AND ".join(conditions) if conditions else ""
        params.append(min(limit, 1000))
        query = f"SELECT id, name, tags FROM meter.series {where} ORDER BY name LIMIT ${len(params)}"
        async with self.pool.acquire() as con:
            return await con.fetch(query, *params)

    async def rollup(
        self,
        series: List[int],
        start: str,
        end: str,
        grain: str = "1h",
        aggregate: str = "avg",
    ) -> List[dict]:
        """Aggregated values per bucket, one list for all the series asked for."""
        bucket = GRAINS.get(grain)
        if bucket is None:
            raise StoreError("unknown grain")
        if aggregate not in AGGREGATES:
            raise StoreError("unknown aggregate")
        expr = AGGREGATES[aggregate]
        query = (
            f"SELECT series_id, date_trunc('{bucket}', ts) AS bucket, {expr} AS value"
            " FROM meter.points"
            " WHERE series_id = ANY($1::int[]) AND ts >= $2 AND ts < $3"
            " GROUP BY 1, 2 ORDER BY 2, 1"
        )
        async with self.pool.acquire() as con:
            records = await con.fetch(query, series, _stamp(start), _stamp(end))
        return [{"series": r["series_id"], "t": r["bucket"].isoformat(), "v": r["value"]} for r in records]

    async def stream(self, device: str, since: str) -> AsyncIterator[Tuple[str, float]]:
        sql = (
            "SELECT p.ts, p.value FROM meter.points p JOIN meter.series s ON s.id = p.series_id"
            " WHERE s.tags->>'device' = $1 AND p.ts > $2 ORDER BY p.ts"
        )
        async with self.pool.acquire() as con:
            async with con.transaction():
                async for record in con.cursor(sql, device, _stamp(since)):
                    yield record["ts"].isoformat(), record["value"]

    async def rename_tag(self, column: str, old: str, new: str) -> int:
        """Rewrite one tag value everywhere, e.g. after a site got a new name."""
        if column not in TAG_COLUMNS:
            raise StoreError("unknown tag")
        path = "{" + column + "}"
        async with self.pool.acquire() as con:
            status = await con.execute(
                f"UPDATE meter.series SET tags = jsonb_set(tags, '{path}', to_jsonb($1::text))"
                f" WHERE tags->>'{column}' = $2",
                new,
                old,
            )
        self._known.clear()
        return int(status.split()[-1])

    async def drop_before(self, days: int) -> None:
        async with self.pool.acquire() as con:
            await con.execute("SELECT drop_chunks('meter.points', older_than => make_interval(days => $1))", days)
        logger.info("dropped chunks older than %d days", days)

    async def save_dashboard(self, owner: str, title: str, layout: dict) -> str:
        slug = secrets.token_urlsafe(9)
        statement = (
            "INSERT INTO meter.dashboards (slug, owner, title, layout, changed)"
            " VALUES ($1, $2, $3, $4::jsonb, now())"
        )
        async with self.pool.acquire() as con:
            await con.execute(statement, slug, owner, title[:120], json.dumps(layout))
        return slug

    async def load_dashboard(self, slug: str, viewer: str) -> Optional[dict]:
        async with self.pool.acquire() as con:
            record = await con.fetchrow(
                "SELECT title, layout FROM meter.dashboards WHERE slug = $1 AND (owner = $2 OR shared)",
                slug,
                viewer,
            )
        if record is None:
            return None
        return {"title": record["title"], "layout": json.loads(record["layout"])}

    def spill(self, path: str) -> None:
        """Keep the series cache over a restart of the service."""
        with open(path, "wb") as fh:
            pickle.dump({"at": time.time(), "known": self._known}, fh)


class Api:
    def __init__(self, store: MetricStore) -> None:
        self.store = store

    async def ingest(self, request: web.Request) -> web.Response:
        if (request.content_length or MAX_BODY + 1) > MAX_BODY:
            raise web.HTTPRequestEntityTooLarge(max_size=MAX_BODY, actual_size=request.content_length or 0)
        raw = await request.read()
        try:
            batch = json.loads(raw)
            points = [(p["name"], p.get("tags", {}), p["value"], p["time"]) for p in batch]
            written = await self.store.write(points)
        except (ValueError, KeyError, TypeError, StoreError):
            logger.warning("batch of %d bytes refused", len(raw))
            raise web.HTTPBadRequest(text="malformed batch")
        return web.json_response({"written": written})

    async def annotate(self, request: web.Request) -> web.Response:
        form = await request.post()
        user = request["user"]
        series = form.get("series", "")
        text = form.get("text", "").strip()
        back = form.get("next", "/")
        if not series.isdigit() or not text:
            raise web.HTTPBadRequest(text="series and text are needed")
        async with self.store.pool.acquire() as con:
            await con.execute(
                "INSERT INTO meter.notes (series_id, author, body, at) VALUES ($1, $2, $3, now())",
                int(series),
                user.name,
                text[:2000],
            )
        target = urllib.parse.urlsplit(back)
        if target.scheme or target.netloc or not back.startswith("/") or back[1:2] in ("/", "\\"):
            back = "/"
        raise web.HTTPFound(back)

    async def notes(self, request: web.Request) -> web.Response:
        author = request.query.get("author", "")
        try:
            async with self.store.pool.acquire() as con:
                records = await con.fetch(
                    "SELECT series_id, body, at FROM meter.notes WHERE author = $1 ORDER BY at DESC LIMIT 200",
                    author,
                )
        except asyncpg.PostgresError:
            logger.exception("notes could not be read")
            raise web.HTTPInternalServerError(text="notes are not available")
        return web.json_response([{"series": r["series_id"], "body": r["body"]} for r in records])


async def watch(store: MetricStore, every: float = 60.0) -> None:
    while True:
        async with store.pool.acquire() as con:
            for table in ("points", "series", "notes", "dashboards"):
                count = await con.fetchval(f"SELECT reltuples::bigint FROM pg_class WHERE relname = '{table}'")
                logger.debug("%s holds about %d rows", table, count)
        await asyncio.sleep(every)
