"""Readings API of the metering platform.

Uses the ``databases`` package with SQLAlchemy core tables for everything that
fits, and hand written SQL for the window queries.
"""

import asyncio
import hmac
import logging
import random
import re
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Dict, List, Optional, Sequence

import httpx
import sqlalchemy as sa
from databases import Database
from fastapi import APIRouter, Depends, Header, HTTPException, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from .settings import settings
from .security import Principal, current_principal

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v2/meters", tags=["meters"])
database = Database(settings.database_url)
metadata = sa.MetaData()

meters = sa.Table(
    "meters",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("serial", sa.String(40), unique=True),
    sa.Column("site", sa.String(80)),
    sa.Column("owner_id", sa.Integer),
    sa.Column("label", sa.String(120)),
    sa.Column("installed", sa.Date),
)

BUCKETS = {"hour": "1 hour", "day": "1 day", "week": "7 days"}
SERIAL = re.compile(r"[A-Z]{2}[0-9]{6,12}")
IDENT = re.compile(r"[a-z][a-z0-9_]{0,40}")


class Aggregate(str, Enum):
    avg = "avg"
    min = "min"
    max = "max"
    sum = "sum"


class MeterPatch(BaseModel):
    label: Optional[str] = Field(None, max_length=120)
    site: Optional[str] = Field(None, max_length=80)


class ReadingFilter(BaseModel):
    serials: List[str] = Field(default_factory=list, max_items=50)
    quality: Optional[str] = None
    above: Optional[float] = None


async def require_ingest_key(x_ingest_key: str = Header("")) -> None:
    if not hmac.compare_digest(x_ingest_key.encode(), settings.ingest_key.encode()):
        raise HTTPException(status_code=401, detail="bad key")


async def owned_meter(meter_id: int, who: Principal) -> Any:
    row = await database.fetch_one(
        sa.select(meters).where(meters.c.id == meter_id, meters.c.owner_id == who.id)
    )
    if row is None:
        raise HTTPException(status_code=404, detail="no such meter")
    return row


@router.get("/")
async def list_meters(
    site: Optional[str] = None,
    q: Optional[str] = Query(None, max_length=60),
    sort: str = "serial",
    limit: int = Query(50, ge=1, le=500),
    who: Principal = Depends(current_principal),
) -> List[Dict[str, Any]]:
    stmt = sa.select(meters).where(meters.c.owner_id == who.id)
    if site:
        stmt = stmt.where(meters.c.site == site)
    if q:
        stmt = stmt.where(sa.text("label ILIKE :q").bindparams(q=f"%{q}%"))
    if sort not in meters.c:
        raise HTTPException(status_code=422, detail="unknown sort column")
    stmt = stmt.order_by(sa.text(sort)).limit(limit)
    rows = await database.fetch_all(stmt)
    return [dict(r._mapping) for r in rows]


@router.get("/{meter_id}/series")
async def series(
    meter_id: int = Path(..., ge=1),
    agg: Aggregate = Aggregate.avg,
    bucket: str = "hour",
    tz: str = "UTC",
    days: int = Query(7, ge=1, le=366),
    who: Principal = Depends(current_principal),
) -> List[Dict[str, Any]]:
    await owned_meter(meter_id, who)
    if bucket not in BUCKETS:
        raise HTTPException(status_code=422, detail="bucket must be hour, day or week")
    width = BUCKETS[bucket]
    values = {"meter": meter_id, "since": datetime.utcnow() - timedelta(days=days), "tz": tz}
    sql = f"""
        SELECT time_bucket('{width}', taken_at AT TIME ZONE :tz) AS t,
               {agg.value}(value) AS v
          FROM readings
         WHERE meter_id = :meter AND taken_at >= :since
         GROUP BY 1 ORDER BY 1
    """
    rows = await database.fetch_all(sql, values)
    return [{"t": r["t"].isoformat(), "v": r["v"]} for r in rows]


@router.post("/readings/query")
async def query_readings(
    flt: ReadingFilter, who: Principal = Depends(current_principal)
) -> List[Dict[str, Any]]:
    for serial in flt.serials:
        if not SERIAL.fullmatch(serial):
            raise HTTPException(status_code=422, detail="malformed serial")

    where = ["m.owner_id = :owner"]
    values: Dict[str, Any] = {"owner": who.id}
    if flt.serials:
        quoted = ", ".join("'%s'" % s for s in flt.serials)
        where.append(f"m.serial IN ({quoted})")
    if flt.quality:
        where.append("r.quality = :quality")
        values["quality"] = flt.quality
    if flt.above is not None:
        where.append("r.value > :above")
        values["above"] = flt.above

    rows = await database.fetch_all(
        "SELECT m.serial, r.taken_at, r.value, r.quality FROM readings r"
        " JOIN meters m ON m.id = r.meter_id"
        f" WHERE {' AND '.join(where)} ORDER BY r.taken_at DESC LIMIT 2000",
        values,
    )
    return [dict(r._mapping) for r in rows]


@router.patch("/{meter_id}")
async def patch_meter(
    meter_id: int, patch: MeterPatch, who: Principal = Depends(current_principal)
) -> Dict[str, Any]:
    await owned_meter(meter_id, who)
    changes = {k: v for k, v in patch.dict(exclude_unset=True).items() if v is not None}
    if not changes:
        raise HTTPException(status_code=422, detail="nothing to change")
    sets = ", ".join(f"{name} = :{name}" for name in changes)
    binds = {**changes, "id": meter_id}
    async with database.transaction():
        await database.execute(f"UPDATE meters SET {sets} WHERE id = :id", binds)
        await database.execute(
            "INSERT INTO audit (actor, what, at) VALUES (:actor, :what, now())",
            {"actor": who.id, "what": "meter %d: %s" % (meter_id, ", ".join(changes))},
        )
    return {"id": meter_id, **changes}


@router.post("/ingest/{serial}", dependencies=[Depends(require_ingest_key)], status_code=202)
async def ingest(serial: str, points: List[Dict[str, float]]) -> Dict[str, int]:
    if len(points) > settings.max_points:
        raise HTTPException(status_code=413, detail="too many points")
    meter = await database.fetch_one("SELECT id FROM meters WHERE serial = :s", {"s": serial})
    if meter is None:
        raise HTTPException(status_code=404, detail="unknown meter")
    rows = [
        {"m": meter["id"], "t": datetime.utcfromtimestamp(p["t"]), "v": p["v"]}
        for p in points
        if "t" in p and "v" in p
    ]
    await database.execute_many(
        "INSERT INTO readings (meter_id, taken_at, value) VALUES (:m, :t, :v)", rows
    )
    return {"accepted": len(rows)}


@router.get("/{meter_id}/export")
async def export(
    meter_id: int,
    quality: str = "good",
    who: Principal = Depends(current_principal),
) -> StreamingResponse:
    meter = await owned_meter(meter_id, who)

    async def lines():
        yield "taken_at;value\n"
        stmt = sa.text("SELECT taken_at, value FROM readings WHERE meter_id = :m AND quality = :q")
        async for row in database.iterate(stmt.bindparams(m=meter_id, q=quality)):
            yield f"{row['taken_at']:%Y-%m-%d %H:%M};{row['value']:.3f}\n"

    name = re.sub(r"[^A-Za-z0-9]+", "_", meter["serial"])
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(lines(), media_type="text/csv", headers=headers)


async def refresh_view(name: str, columns: Sequence[str]) -> None:
    """Rebuild a rollup table configured by a tenant."""
    for ident in (name, *columns):
        if not IDENT.fullmatch(ident):
            raise ValueError("bad identifier: %r" % ident)
    cols = ", ".join(columns)
    async with database.transaction():
        await database.execute(f"DROP TABLE IF EXISTS rollup_{name}")
        await database.execute(f"CREATE TABLE rollup_{name} AS SELECT {cols} FROM readings_daily")
    log.info("rebuilt rollup_%s", name)


async def with_retry(make, attempts: int = 4):
    for n in range(attempts):
        try:
            return await make()
        except (OSError, asyncio.TimeoutError) as exc:
            if n + 1 == attempts:
                raise
            pause = 0.2 * 2**n + random.uniform(0, 0.1)
            log.warning("attempt %d failed (%s), next in %.2fs", n + 1, type(exc).__name__, pause)
            await asyncio.sleep(pause)


async def fetch_tariff(region: str) -> Dict[str, Any]:
    async with httpx.AsyncClient(timeout=10, verify=True) as client:
        reply = await client.get(settings.tariff_url, params={"region": region})
        reply.raise_for_status()
        return reply.json()
