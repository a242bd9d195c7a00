from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import os
import random
import secrets
import ssl
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
import certifi
import httpx
import jwt
import requests
import urllib3
from fastapi import APIRouter, Depends, HTTPException, Request
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

logger = logging.getLogger("partners.hooks")
router = APIRouter(prefix="/partners")

MAX_BODY = 512 * 1024
MAX_SKEW = 300
STATE_SECONDS = 600
RETRY_STATUS = {429, 500, 502, 503, 504}


class PartnerError(Exception):
    pass


@dataclass
class Partner:
    slug: str
    base_url: str
    hook_secret: bytes
    issuer: str
    jwks_url: str
    client_id: str
    ca_bundle: str | None = None
    scopes: list[str] = field(default_factory=list)


def partner_from_env(slug: str, environ: dict[str, str] | None = None) -> Partner:
    environ = dict(os.environ) if environ is None else environ
    prefix = f"PARTNER_{slug.upper()}_"
    try:
        secret = base64.b64decode(environ[prefix + "HOOK_SECRET"])
        base_url = environ[prefix + "URL"].rstrip("/")
        issuer = environ[prefix + "ISSUER"]
        client_id = environ[prefix + "CLIENT_ID"]
    except KeyError as exc:
        raise PartnerError(f"setting {exc.args[0]} is missing") from exc
    if not base_url.startswith("https://"):
        raise PartnerError(f"{slug}: address must use https")
    jwks_url = environ.get(prefix + "JWKS", f"{base_url}/.well-known/jwks.json")
    if not jwks_url.startswith("https:"):
        raise PartnerError(f"{slug}: key address must use https")
    return Partner(
        slug=slug,
        base_url=base_url,
        hook_secret=secret,
        issuer=issuer,
        jwks_url=jwks_url,
        client_id=client_id,
        ca_bundle=environ.get(prefix + "CA"),
        scopes=environ.get(prefix + "SCOPES", "").split(),
    )


def client_context(ca_bundle: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca_bundle or certifi.where())
    return context


async def get_partner(slug: str, request: Request) -> Partner:
    partner = request.app.state.partners.get(slug)
    if partner is None:
        raise HTTPException(status_code=404, detail="unknown partner")
    return partner


@router.post("/{slug}/hook")
async def receive_hook(
    request: Request, partner: Partner = Depends(get_partner)
) -> dict[str, Any]:
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise HTTPException(status_code=413, detail="body too large")
    body = await request.body()
    stamp = request.headers.get("x-hook-time", "")
    if not stamp.isdecimal() or abs(time.time() - int(stamp)) > MAX_SKEW:
        raise HTTPException(status_code=400, detail="stale delivery")
    expected = hmac.new(
        partner.hook_secret, stamp.encode() + b"." + body, hashlib.sha256
    ).hexdigest()
    given = request.headers.get("x-hook-signature", "")
    if not hmac.compare_digest(expected.encode(), given.encode()):
        logger.warning("hook signature mismatch for %s", partner.slug)
        raise HTTPException(status_code=401, detail="bad signature")
    try:
        event = json.loads(body)
    except ValueError:
        raise HTTPException(status_code=400, detail="not JSON") from None
    queued = await request.app.state.queue.put(partner.slug, event)
    return {"queued": queued}


@router.post("/interactions")
async def receive_interaction(request: Request) -> dict[str, Any]:
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise HTTPException(status_code=413, detail="body too large")
    raw = await request.body()
    stamp = request.headers.get("x-signature-timestamp", "")
    if not stamp.isdecimal() or abs(time.time() - int(stamp)) > MAX_SKEW:
        raise HTTPException(status_code=401, detail="stale request")
    try:
        signature = bytes.fromhex(request.headers.get("x-signature-ed25519", ""))
        key = VerifyKey(request.app.state.chat_public_key)
        key.verify(stamp.encode() + raw, signature)
    except (ValueError, BadSignatureError):
        raise HTTPException(status_code=401, detail="bad signature") from None
    message = json.loads(raw)
    if message.get("type") == 1:
        return {"type": 1}
    handler = request.app.state.commands.get(message.get("data", {}).get("name"))
    if handler is None:
        return {"type": 4, "data": {"content": "I do not know that command."}}
    return await handler(message)


class TokenReader:
    def __init__(self, partner: Partner, cache_seconds: int = 3600) -> None:
        self.partner = partner
        self.cache_seconds = cache_seconds
        self._keys: dict[str, Any] = {}
        self._fetched = 0.0

    def refresh_keys(self) -> None:
        if self._keys and time.monotonic() - self._fetched < self.cache_seconds:
            return
        response = requests.get(
            self.partner.jwks_url,
            timeout=10,
            verify=self.partner.ca_bundle or True,
        )
        response.raise_for_status()
        keys = {}
        for entry in response.json().get("keys", []):
            if entry.get("kty") == "RSA" and entry.get("use", "sig") == "sig":
                keys[entry["kid"]] = jwt.PyJWK(entry).key
        self._keys = keys
        self._fetched = time.monotonic()
        logger.info("%d signing keys for %s", len(keys), self.partner.slug)

    def read(self, token: str) -> dict[str, Any]:
        self.refresh_keys()
        kid = jwt.get_unverified_header(token).get("kid")
        key = self._keys.get(kid)
        if key is None:
            raise PartnerError("token is signed with an unknown key")
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=self.partner.client_id,
                issuer=self.partner.issuer,
                options={"require": ["exp", "iat", "sub"]},
            )
        except jwt.PyJWTError as exc:
            raise PartnerError("token refused") from exc
        return claims


def begin_login(partner: Partner, session: dict[str, Any], callback: str) -> str:
    state = secrets.token_urlsafe(32)
    verifier = secrets.token_urlsafe(64)
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    session["oauth"] = {
        "state": state,
        "verifier": verifier,
        "partner": partner.slug,
        "until": time.time() + STATE_SECONDS,
    }
    query = {
        "response_type": "code",
        "client_id": partner.client_id,
        "redirect_uri": callback,
        "scope": " ".join(partner.scopes),
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    return f"{partner.base_url}/oauth/authorize?{urlencode(query)}"


async def finish_login(
    partner: Partner, session: dict[str, Any], code: str, state: str, callback: str
) -> dict[str, Any]:
    pending = session.pop("oauth", None)
    if pending is None or pending["partner"] != partner.slug:
        raise PartnerError("no login is under way")
    if pending["until"] < time.time():
        raise PartnerError("the login took too long")
    if not hmac.compare_digest(pending["state"].encode(), state.encode()):
        raise PartnerError("the login answer belongs to another session")
    async with httpx.AsyncClient(
        verify=client_context(partner.ca_bundle), timeout=15
    ) as client:
        response = await client.post(
            f"{partner.base_url}/oauth/token",
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": callback,
                "client_id": partner.client_id,
                "code_verifier": pending["verifier"],
            },
        )
    if response.status_code != 200:
        logger.warning("%s token answer: %d", partner.slug, response.status_code)
        raise PartnerError("the partner refused the login")
    tokens = response.json()
    return TokenReader(partner).read(tokens["id_token"])


async def deliver(partner: Partner, event: dict[str, Any], tries: int = 4) -> bool:
    body = json.dumps(event, separators=(",", ":")).encode()
    stamp = str(int(time.time()))
    mac = hmac.new(partner.hook_secret, stamp.encode() + b"." + body, hashlib.sha256)
    headers = {
        "content-type": "application/json",
        "x-hook-time": stamp,
        "x-hook-signature": mac.hexdigest(),
    }
    timeout = aiohttp.ClientTimeout(total=20)
    context = client_context(partner.ca_bundle)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        for attempt in range(tries):
            async with http.post(
                f"{partner.base_url}/events", data=body, headers=headers, ssl=context
            ) as answer:
                if answer.status < 300:
                    return True
                if answer.status not in RETRY_STATUS:
                    logger.error("%s refused: %d", partner.slug, answer.status)
                    return False
            await _pause(attempt)
    return False


async def _pause(attempt: int) -> None:
    import asyncio

    await asyncio.sleep(min(30.0, 2.0**attempt) * random.uniform(0.6, 1.4))


def price_pool(partner: Partner, host: str) -> urllib3.HTTPSConnectionPool:
    retries = urllib3.Retry(total=3, backoff_factor=0.4, status_forcelist=RETRY_STATUS)
    return urllib3.HTTPSConnectionPool(
        host,
        port=443,
        maxsize=4,
        retries=retries,
        cert_reqs="CERT_REQUIRED",
        ca_certs=partner.ca_bundle or certifi.where(),
        ssl_minimum_version=ssl.TLSVersion.TLSv1_2,
        timeout=urllib3.Timeout(connect=5, read=20),
    )


def rotate_hook_secret(store: Any, partner: Partner) -> str:
    fresh = secrets.token_bytes(32)
    store.save(partner.slug, "hook_secret", fresh)
    partner.hook_secret = fresh
    fingerprint = hashlib.sha256(fresh).hexdigest()[:8]
    logger.info("new hook secret for %s (%s)", partner.slug, fingerprint)
    return base64.b64encode(fresh).decode("ascii")
