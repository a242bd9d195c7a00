import asyncio
import io
import json
import logging
import os
import secrets
import zipfile
from datetime import datetime, timezone
from html import escape
from pathlib import Path

import aiohttp
import asyncpg
from aiohttp import web
from PIL import Image, UnidentifiedImageError

log = logging.getLogger("gallery")
routes = web.RouteTableDef()

MAX_PHOTO = 12 * 1024 * 1024
MAX_ALBUM = 400 * 1024 * 1024
MAX_MEMBERS = 500
FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
SIZES = {"thumb": 240, "screen": 1280, "full": 0}
IMPORT_HOSTS = {"photos.vereinsarchiv.example", "scan.vereinsarchiv.example"}


def member_only(handler):
    async def wrapped(request: web.Request) -> web.StreamResponse:
        token = request.cookies.get("gallery_session", "")
        row = await request.app["db"].fetchrow(
            "SELECT member_id, form_token FROM session WHERE token = $1 AND expires > now()", token
        )
        if row is None:
            raise web.HTTPUnauthorized()
        if request.method != "GET":
            sent = request.headers.get("X-Form-Token", "")
            if not secrets.compare_digest(sent.encode(), row["form_token"].encode()):
                raise web.HTTPForbidden()
        request["member"] = row["member_id"]
        return await handler(request)

    return wrapped


def album_dir(app: web.Application, slug: str) -> Path:
    root = app["photo_root"]
    folder = (root / slug).resolve()
    if folder.parent != root:
        raise web.HTTPNotFound()
    return folder


async def own_album(request: web.Request):
    """The album named in the URL, if the member may change it."""
    row = await request.app["db"].fetchrow(
        "SELECT id, slug, title, owner_id FROM album WHERE slug = $1", request.match_info["slug"]
    )
    if row is None:
        raise web.HTTPNotFound()
    if row["owner_id"] != request["member"]:
        raise web.HTTPForbidden()
    return row


def sniff(data: bytes) -> str:
    """File suffix that fits the picture in `data`."""
    try:
        with Image.open(io.BytesIO(data), formats=tuple(FORMATS)) as img:
            kind = img.format
            img.verify()
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError):
        raise web.HTTPUnsupportedMediaType(text="not a picture we can show")
    return FORMATS[kind]


@routes.post("/albums/{slug}/photos")
@member_only
async def add_photo(request: web.Request) -> web.Response:
    album = await own_album(request)
    reader = await request.multipart()
    part = await reader.next()
    if part is None or part.name != "photo":
        raise web.HTTPBadRequest(text="photo expected")

    data = bytearray()
    while True:
        chunk = await part.read_chunk(64 * 1024)
        if not chunk:
            break
        data += chunk
        if len(data) > MAX_PHOTO:
            raise web.HTTPRequestEntityTooLarge(max_size=MAX_PHOTO, actual_size=len(data))

    suffix = await asyncio.to_thread(sniff, bytes(data))
    name = secrets.token_hex(8) + suffix
    folder = album_dir(request.app, album["slug"])
    target = folder / name
    await asyncio.to_thread(target.write_bytes, bytes(data))
    await request.app["db"].execute(
        "INSERT INTO photo (album_id, file, title, added) VALUES ($1, $2, $3, $4)",
        album["id"], name, (part.filename or "")[:120], datetime.now(timezone.utc),
    )
    log.info("album %d: %s added, %d bytes", album["id"], name, len(data))
    return web.json_response({"file": name}, status=201)


@routes.get("/albums/{slug}/{size}/{file:.+}")
async def show_photo(request: web.Request) -> web.StreamResponse:
    """Deliver a photo; smaller sizes are made when first asked for."""
    folder = album_dir(request.app, request.match_info["slug"])
    edge = SIZES.get(request.match_info["size"])
    if edge is None:
        raise web.HTTPNotFound()

    source = (folder / request.match_info["file"]).resolve()
    if not source.is_relative_to(folder) or not source.is_file():
        raise web.HTTPNotFound()
    if edge == 0:
        return web.FileResponse(source)

    small = request.app["cache_root"] / f"{folder.name}-{edge}-{source.name}"
    if not small.exists():
        await asyncio.to_thread(shrink, source, small, edge)
    return web.FileResponse(small, headers={"Cache-Control": "public, max-age=86400"})


def shrink(source: Path, small: Path, edge: int) -> None:
    with Image.open(source) as img:
        img.thumbnail((edge, edge))
        part = small.with_name(f".{secrets.token_hex(4)}-{small.name}")
        img.save(part, format=img.format)
    os.replace(part, small)


@routes.post("/albums/{slug}/archive")
@member_only
async def add_archive(request: web.Request) -> web.Response:
    """Take a whole album as one zip file."""
    album = await own_album(request)
    body = await request.read()  # bounded by client_max_size of the application
    try:
        added = await asyncio.to_thread(unpack_album, body, album_dir(request.app, album["slug"]))
    except (zipfile.BadZipFile, ValueError) as exc:
        log.info("album %d: archive refused: %r", album["id"], exc)
        raise web.HTTPBadRequest(text="unusable archive")
    return web.json_response({"added": added})


def unpack_album(body: bytes, folder: Path):
    added = []
    with zipfile.ZipFile(io.BytesIO(body)) as zf:
        members = [m for m in zf.infolist() if not m.is_dir()]
        if len(members) > MAX_MEMBERS or sum(m.file_size for m in members) > MAX_ALBUM:
            raise ValueError("archive too big")
        for member in members:
            title = member.filename.rsplit("/", 1)[-1]
            if title.startswith("."):
                continue
            target = (folder / title).resolve()
            if target.parent != folder:
                raise ValueError("member outside of the album")
            if target.suffix.lower() not in FORMATS.values() or target.exists():
                continue
            target.write_bytes(zf.read(member))
            added.append(title)
    return added


@routes.post("/albums/{slug}/import")
@member_only
async def import_photo(request: web.Request) -> web.Response:
    """Fetch a picture from one of the scanners of the club."""
    album = await own_album(request)
    form = await request.json()
    host = str(form.get("host", ""))
    number = int(form.get("number", 0))
    if host not in IMPORT_HOSTS:
        raise web.HTTPBadRequest(text="unknown scanner")
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        async with session.get(f"https://{host}/scan/{number}", allow_redirects=False) as resp:
            resp.raise_for_status()
            data = await resp.content.read(MAX_PHOTO)
    name = secrets.token_hex(8) + await asyncio.to_thread(sniff, data)
    (album_dir(request.app, album["slug"]) / name).write_bytes(data)
    return web.json_response({"file": name}, status=201)


@routes.get("/albums/{slug}")
async def album_page(request: web.Request) -> web.Response:
    db: asyncpg.Pool = request.app["db"]
    album = await db.fetchrow("SELECT id, slug, title FROM album WHERE slug = $1", request.match_info["slug"])
    if album is None:
        raise web.HTTPNotFound()
    order = "added DESC" if request.query.get("order") == "new" else "title"
    photos = await db.fetch(f"SELECT file, title FROM photo WHERE album_id = $1 ORDER BY {order}", album["id"])
    cells = [
        f'<img src="/albums/{escape(album["slug"])}/thumb/{p["file"]}" alt="{escape(p["title"])}">' for p in photos
    ]
    page = f"<h1>{escape(album['title'])}</h1>" + "\n".join(cells)
    return web.Response(text=page, content_type="text/html")


@routes.delete("/albums/{slug}/photos/{file}")
@member_only
async def drop_photo(request: web.Request) -> web.Response:
    album = await own_album(request)
    name = request.match_info["file"]
    gone = await request.app["db"].execute(
        "DELETE FROM photo WHERE album_id = $1 AND file = $2", album["id"], name
    )
    if gone == "DELETE 0":
        raise web.HTTPNotFound()
    path = album_dir(request.app, album["slug"]) / os.path.basename(name)
    if path.is_file():
        path.unlink()
    return web.Response(status=204)


async def make_app(config_file: str) -> web.Application:
    with open(config_file, encoding="utf-8") as fh:
        config = json.load(fh)
    app = web.Application(client_max_size=MAX_ALBUM)
    app["photo_root"] = Path(config["photos"]).resolve()
    app["cache_root"] = Path(config["cache"]).resolve()
    app["db"] = await asyncpg.create_pool(config["dsn"])
    app.add_routes(routes)
    return app
