from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import logging
import os
import random
import secrets
import socket
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import jwt
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, File, Header, HTTPException, Query, Request, Response, UploadFile, status
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

log = logging.getLogger("relay")
router = APIRouter(prefix="/v1")
bearer = HTTPBearer()

SPOOL = Path(os.environ.get("RELAY_SPOOL", "/var/spool/relay")).resolve()
JWT_KEY = os.environ["RELAY_JWT_KEY"]
ORIGINS = [o for o in os.environ.get("RELAY_ORIGINS", "").split(",") if o]
MAX_BODY = 256 * 1024
MAX_TRIES = 6
PORTS = {443, 8443}


class Caller(BaseModel):
    user_id: int
    tenant: int
    scopes: frozenset[str] = frozenset()


class EndpointIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str = Field(min_length=12, max_length=500)
    events: list[str] = Field(min_length=1, max_length=20)
    note: str = Field(default="", max_length=200)


class EndpointPatch(BaseModel):
    url: str | None = None
    note: str | None = None
    paused: bool | None = None


async def pool(request: Request) -> asyncpg.Pool:
    return request.app.state.pool


Db = Annotated[asyncpg.Pool, Depends(pool)]


async def caller(credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> Caller:
    try:
        claims = jwt.decode(
            credentials.credentials,
            JWT_KEY,
            algorithms=["HS256"],
            audience="relay",
            options={"require": ["exp", "sub", "tenant"]},
        )
        return Caller(
            user_id=int(claims["sub"]), tenant=int(claims["tenant"]), scopes=frozenset(claims.get("scopes", []))
        )
    except (jwt.InvalidTokenError, ValueError) as exc:
        log.info("bearer refused: %s", type(exc).__name__)
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, "invalid token") from None


def needs(scope: str):
    async def check(who: Annotated[Caller, Depends(caller)]) -> Caller:
        if scope not in who.scopes:
            raise HTTPException(status.HTTP_403_FORBIDDEN, f"needs {scope}")
        return who

    return check


async def public_address(host: str, port: int) -> str:
    """Look ``host`` up and return one address that may be delivered to."""
    loop = asyncio.get_running_loop()
    try:
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        raise HTTPException(422, "host does not resolve") from None
    for info in infos:
        address = ipaddress.ip_address(info[4][0])
        if not address.is_global or address.is_multicast:
            raise HTTPException(422, "host is not reachable from here")
    return infos[0][4][0]


def split_target(url: str) -> tuple[str, int, str]:
    parts = urlsplit(url)
    try:
        port = parts.port or 443
    except ValueError:
        raise HTTPException(422, "bad port") from None
    if parts.scheme != "https" or not parts.hostname or parts.username:
        raise HTTPException(422, "only plain https addresses")
    if port not in PORTS:
        raise HTTPException(422, "bad port")
    path = parts.path or "/"
    return parts.hostname, port, f"{path}?{parts.query}" if parts.query else path


async def deliver(url: str, secret: str, event: dict[str, Any]) -> int:
    """Send one event; the connection goes to the address that was looked up."""
    host, port, path = split_target(url)
    address = await public_address(host, port)
    literal = f"[{address}]" if ":" in address else address
    body = json.dumps(event, separators=(",", ":")).encode()
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"Host": f"{host}:{port}", "Content-Type": "application/json", "X-Relay-Signature": digest}
    async with httpx.AsyncClient(timeout=10.0, follow_redirects=False, trust_env=False) as client:
        answer = await client.post(
            f"https://{literal}:{port}{path}", content=body, headers=headers, extensions={"sni_hostname": host}
        )
    log.info("delivered %r to endpoint host %r: %d", event.get("id"), host, answer.status_code)
    return answer.status_code


async def deliver_with_retries(db: asyncpg.Pool, endpoint_id: int, event: dict[str, Any]) -> bool:
    row = await db.fetchrow("SELECT url, secret FROM endpoints WHERE id = $1 AND NOT paused", endpoint_id)
    if row is None:
        return False
    for attempt in range(MAX_TRIES):
        try:
            code = await deliver(row["url"], row["secret"], event)
        except (httpx.HTTPError, HTTPException) as exc:
            log.info("endpoint %d attempt %d: %s", endpoint_id, attempt, type(exc).__name__)
            code = 0
        if 200 <= code < 300:
            return True
        await asyncio.sleep(min(300, 2**attempt) + random.random())
    await db.execute("UPDATE endpoints SET paused = true WHERE id = $1", endpoint_id)
    return False


@router.post("/endpoints", status_code=201)
async def create_endpoint(data: EndpointIn, db: Db, who: Annotated[Caller, Depends(needs("endpoints:write"))]):
    host, port, _ = split_target(data.url)
    await public_address(host, port)
    secret = secrets.token_hex(32)
    endpoint_id = await db.fetchval(
        "INSERT INTO endpoints (tenant, url, events, note, secret) VALUES ($1, $2, $3, $4, $5) RETURNING id",
        who.tenant, data.url, data.events, data.note, secret,
    )
    log.info("endpoint %d created for tenant %d", endpoint_id, who.tenant)
    return {"id": endpoint_id, "secret": secret}


@router.get("/endpoints")
async def list_endpoints(
    db: Db,
    who: Annotated[Caller, Depends(needs("endpoints:read"))],
    prefix: str = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
):
    rows = await db.fetch(
        "SELECT id, url, events, note, paused FROM endpoints WHERE tenant = $1 AND starts_with(url, $2) ORDER BY id LIMIT $3",
        who.tenant, prefix, limit,
    )
    return [dict(row) for row in rows]


@router.patch("/endpoints/{endpoint_id}")
async def patch_endpoint(
    endpoint_id: int, data: EndpointPatch, db: Db, who: Annotated[Caller, Depends(needs("endpoints:write"))]
):
    changes = data.model_dump(exclude_unset=True, exclude_none=True)
    if "url" in changes:
        host, port, _ = split_target(changes["url"])
        await public_address(host, port)
    for column in ("url", "note", "paused"):
        if column in changes:
            result = await db.execute(
                f"UPDATE endpoints SET {column} = $1 WHERE id = $2 AND tenant = $3",
                changes[column], endpoint_id, who.tenant,
            )
            if result == "UPDATE 0":
                raise HTTPException(404, "no such endpoint")
    return {"changed": sorted(changes)}


@router.delete("/endpoints/{endpoint_id}", status_code=204)
async def delete_endpoint(endpoint_id: int, db: Db, who: Annotated[Caller, Depends(needs("endpoints:write"))]):
    result = await db.execute("DELETE FROM endpoints WHERE id = $1 AND tenant = $2", endpoint_id, who.tenant)
    if result == "DELETE 0":
        raise HTTPException(404, "no such endpoint")
    log.info("endpoint %d deleted by user %d", endpoint_id, who.user_id)
    return Response(status_code=204)


@router.post("/ingest/{source}")
async def ingest(source: int, request: Request, db: Db, x_signature: Annotated[str, Header()], x_sent: Annotated[int, Header()]):
    secret = await db.fetchval("SELECT secret FROM sources WHERE id = $1", source)
    if secret is None:
        raise HTTPException(404, "no such source")
    if abs(time.time() - x_sent) > 300:
        raise HTTPException(400, "too old")
    body = bytearray()
    async for chunk in request.stream():
        body.extend(chunk)
        if len(body) > MAX_BODY:
            raise HTTPException(413, "too large")
    mac = hmac.new(secret.encode(), b"%d." % x_sent + bytes(body), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(mac.encode(), x_signature.encode()):
        raise HTTPException(403, "bad signature")
    try:
        event = json.loads(body)
    except ValueError:
        raise HTTPException(400, "not JSON") from None
    await db.execute("INSERT INTO inbox (source, body) VALUES ($1, $2)", source, json.dumps(event))
    return {"queued": True}


@router.put("/schemas/{name}")
async def upload_schema(name: str, file: Annotated[UploadFile, File()], who: Annotated[Caller, Depends(needs("schemas:write"))]):
    if not name.isalnum() or len(name) > 40:
        raise HTTPException(422, "letters and digits only")
    content = await file.read(MAX_BODY + 1)
    if len(content) > MAX_BODY:
        raise HTTPException(413, "too large")
    folder = SPOOL / "schemas" / str(who.tenant)
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    (folder / f"{name}.json").write_bytes(content)
    return {"name": name, "bytes": len(content)}


@router.get("/exports/{name:path}")
async def fetch_export(name: str, who: Annotated[Caller, Depends(needs("exports:read"))]):
    folder = SPOOL / "exports" / str(who.tenant)
    target = (folder / name).resolve()
    if not target.is_relative_to(folder) or not target.is_file():
        raise HTTPException(404, "no such export")
    return FileResponse(target, media_type="application/gzip", headers={"X-Content-Type-Options": "nosniff"})


@router.post("/tokens")
async def issue_token(db: Db, who: Annotated[Caller, Depends(needs("tokens:write"))], scopes: list[str]):
    granted = [scope for scope in scopes if scope in who.scopes]
    if not granted:
        raise HTTPException(422, "nothing to grant")
    now = datetime.now(timezone.utc)
    claims = {
        "sub": str(who.user_id),
        "tenant": who.tenant,
        "aud": "relay",
        "scopes": granted,
        "exp": now + timedelta(hours=8),
    }
    await db.execute("INSERT INTO issued (user_id, scopes, at) VALUES ($1, $2, $3)", who.user_id, granted, now)
    return {"token": jwt.encode(claims, JWT_KEY, algorithm="HS256")}


async def on_error(request: Request, exc: Exception) -> JSONResponse:
    ticket = secrets.token_hex(6)
    log.error("ticket %s at %r", ticket, request.url.path, exc_info=exc)
    return JSONResponse({"detail": "internal error", "ticket": ticket}, status_code=500)


def create_app() -> FastAPI:
    app = FastAPI(title="relay", debug=False, docs_url=None, redoc_url=None)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=ORIGINS,
        allow_credentials=True,
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type"],
    )
    app.add_exception_handler(Exception, on_error)
    app.include_router(router)
    return app


def main() -> None:
    logging.basicConfig(level=os.environ.get("RELAY_LOG", "INFO"))
    uvicorn.run(create_app(), host="127.0.0.1", port=int(os.environ.get("RELAY_PORT", "8090")), proxy_headers=True)
