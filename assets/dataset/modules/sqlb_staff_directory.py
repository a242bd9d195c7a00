"""
Staff directory service.

People come from LDAP, rooms and floor plans from an XML export of the building
system, notes and bookings from PostgreSQL (asyncpg).
"""
import asyncio
import json
import logging
import os
import pathlib
import subprocess
from typing import Mapping, Optional

import asyncpg
import ldap
import ldap.dn
import ldap.filter
from aiohttp import ClientSession, ClientTimeout, web
from lxml import etree

from .auth import current_user, require_group
from .config import Config

logger = logging.getLogger("directory")
routes = web.RouteTableDef()

PERSON_ATTRS = ["uid", "cn", "mail", "telephoneNumber", "departmentNumber"]
LOOKUP_KEYS = {"name": "cn", "mail": "mail", "phone": "telephoneNumber", "dept": "departmentNumber"}
NOTE_ORDER = ("created", "author", "subject")
PHOTO_HOSTS = {"photos.intra.example.org", "badge.intra.example.org"}


class People:
    def __init__(self, config: Config):
        self.uri = config.ldap_uri
        self.base = config.ldap_base
        self.bind_dn = config.ldap_bind_dn
        self.bind_password = config.ldap_bind_password

    def connect(self):
        conn = ldap.initialize(self.uri)
        conn.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
        conn.set_option(ldap.OPT_NETWORK_TIMEOUT, 5)
        conn.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
        conn.start_tls_s()
        conn.simple_bind_s(self.bind_dn, self.bind_password)
        return conn

    def lookup(self, key: str, value: str, limit: int = 25) -> list:
        """Find people by one of the lookup keys; `*` is added at the end."""
        attribute = LOOKUP_KEYS.get(key)
        if attribute is None:
            raise web.HTTPBadRequest(text="unknown key")
        value = ldap.filter.escape_filter_chars(value.strip())
        if len(value) < 2:
            return []
        query = f"(&(objectClass=person)({attribute}={value}*)(!(employeeType=hidden)))"
        conn = self.connect()
        try:
            found = conn.search_ext_s(
                self.base, ldap.SCOPE_SUBTREE, query, PERSON_ATTRS, sizelimit=limit
            )
        except ldap.SIZELIMIT_EXCEEDED:
            raise web.HTTPBadRequest(text="too many people, be more specific")
        finally:
            conn.unbind_s()
        return [self.as_dict(attrs) for dn, attrs in found if dn]

    def check_password(self, uid: str, password: str) -> bool:
        """True when the directory accepts the password."""
        if not uid or not password:
            return False
        user_dn = "uid=%s,ou=people,%s" % (ldap.dn.escape_dn_chars(uid), self.base)
        conn = ldap.initialize(self.uri)
        conn.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
        conn.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
        conn.start_tls_s()
        try:
            conn.simple_bind_s(user_dn, password)
        except ldap.INVALID_CREDENTIALS:
            logger.info("bind refused for %r", uid)
            return False
        finally:
            conn.unbind_s()
        return True

    def groups_of(self, uid: str) -> list:
        query = ldap.filter.filter_format("(&(objectClass=posixGroup)(memberUid=%s))", [uid])
        conn = self.connect()
        try:
            found = conn.search_s(self.base, ldap.SCOPE_SUBTREE, query, ["cn"])
        finally:
            conn.unbind_s()
        return sorted(attrs["cn"][0].decode() for dn, attrs in found if dn)

    @staticmethod
    def as_dict(attrs: Mapping[str, list]) -> dict:
        return {k: attrs[k][0].decode() for k in PERSON_ATTRS if attrs.get(k)}


class Building:
    def __init__(self, path: pathlib.Path):
        self.path = path
        self._tree = None
        self._stamp = 0.0

    def tree(self):
        stamp = os.stat(self.path).st_mtime
        if self._tree is None or stamp != self._stamp:
            parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)
            self._tree = etree.parse(str(self.path), parser)
            self._stamp = stamp
        return self._tree

    def room(self, number: str) -> Optional[dict]:
        nodes = self.tree().xpath("/building/floor/room[@number = $number]", number=number)
        if not nodes:
            return None
        node = nodes[0]
        return {
            "number": number,
            "floor": node.getparent().get("level"),
            "seats": int(node.get("seats", "0")),
            "equipment": [e.text for e in node.findall("equipment")],
        }

    def rooms_with(self, equipment: str, seats: int) -> list:
        find = etree.XPath("//room[@seats >= $seats][equipment = $equipment]/@number")
        return [str(n) for n in find(self.tree(), seats=seats, equipment=equipment)]

    def count(self) -> int:
        return int(self.tree().xpath("count(//room)"))


@routes.get("/people")
async def people(request: web.Request) -> web.Response:
    await current_user(request)
    directory: People = request.app["people"]
    key = request.query.get("by", "name")
    value = request.query.get("q", "")
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(None, directory.lookup, key, value)
    return web.json_response({"people": found})


@routes.get("/rooms/{number}/bookings")
async def bookings(request: web.Request) -> web.Response:
    await current_user(request)
    room = request.app["building"].room(request.match_info["number"])
    if room is None:
        raise web.HTTPNotFound()
    where, args = ["room = $1", "ends > now()"], [room["number"]]
    team = request.query.get("team")
    if team:
        args.append(team)
        where.append(f"team = ${len(args)}")
    async with request.app["pool"].acquire() as conn:
        rows = await conn.fetch(
            "SELECT starts, ends, team FROM booking WHERE " + " AND ".join(where) + " ORDER BY starts",
            *args,
        )
    listing = [{"from": r["starts"].isoformat(), "to": r["ends"].isoformat(), "team": r["team"]} for r in rows]
    return web.json_response({"room": room, "bookings": listing})


@routes.get("/notes")
async def notes(request: web.Request) -> web.Response:
    user = await current_user(request)
    order = request.query.get("order", "created")
    if order not in NOTE_ORDER:
        raise web.HTTPBadRequest(text="order: one of " + ", ".join(NOTE_ORDER))
    label = request.query.get("label", "")
    try:
        rows = await request.app["pool"].fetch(
            "SELECT id, subject, author, created FROM note "
            f"WHERE owner = $1 AND ($2 = '' OR label = $2) ORDER BY {order} LIMIT 200",
            user.uid,
            label,
        )
    except asyncpg.PostgresError:
        logger.exception("listing notes of %s", user.uid)
        raise web.HTTPInternalServerError(text="The notes cannot be read now.")
    return web.json_response(json.loads(json.dumps([dict(r) for r in rows], default=str)))


@routes.delete("/notes/{id:[0-9]+}")
async def drop_note(request: web.Request) -> web.Response:
    user = await current_user(request)
    note_id = int(request.match_info["id"])
    status = await request.app["pool"].execute(
        "DELETE FROM note WHERE id = $1 AND owner = $2", note_id, user.uid
    )
    if status == "DELETE 0":
        raise web.HTTPNotFound()
    return web.Response(status=204)


@routes.post("/admin/departments/{code}/rename")
@require_group("directory-admins")
async def rename_department(request: web.Request) -> web.Response:
    form = await request.post()
    title = str(form.get("title", "")).strip()
    if not 2 <= len(title) <= 80:
        raise web.HTTPBadRequest(text="title: 2 to 80 characters")
    code = request.match_info["code"]
    async with request.app["pool"].acquire() as conn, conn.transaction():
        done = await conn.execute("UPDATE department SET title = $1 WHERE code = $2", title, code)
        await conn.execute("INSERT INTO change_log (what, detail) VALUES ('rename', $1)", f"{code}: {title}")
    return web.json_response({"result": done})


@routes.get("/photo")
async def photo(request: web.Request) -> web.Response:
    await current_user(request)
    host = request.query.get("host", "photos.intra.example.org")
    badge = request.query.get("badge", "")
    if host not in PHOTO_HOSTS or not badge.isdigit():
        raise web.HTTPNotFound()
    async with ClientSession(timeout=ClientTimeout(total=8)) as session:
        async with session.get(f"https://{host}/badge/{badge}.jpg", allow_redirects=False) as reply:
            if reply.status != 200:
                raise web.HTTPNotFound()
            return web.Response(body=await reply.read(), content_type="image/jpeg")


def reload_export(config: Config) -> int:
    """Fetch the building export anew; returns its size."""
    subprocess.run(["/usr/local/bin/fetch-building", "--quiet"], check=True, timeout=120)
    return config.building_xml.stat().st_size
