"""Bridge between the association's chat rooms.

IRC, an XMPP conference and a Matrix room see each other's messages; the web
part offers an archive page, a webhook for the ticket system and an avatar
service.  One process, one event loop, settings from a TOML file.
"""

import asyncio
import hashlib
import hmac
import html
import ipaddress
import json
import logging
import re
import socket
import xml.sax.saxutils as saxutils
from collections import deque
from dataclasses import dataclass, field
from typing import Deque, Dict, List, Optional
from urllib.parse import quote, urljoin, urlsplit

import aiohttp
from aiohttp import web
from defusedxml import ElementTree

log = logging.getLogger("bridge")

IRC_LINE_LIMIT = 400
PREVIEW_BYTES = 128 * 1024
NICK = re.compile(r"[A-Za-z\[\]\\`_^{|}][A-Za-z0-9\[\]\\`_^{|}-]{0,15}")
TITLE = re.compile(r"<title[^>]{0,200}>([^<]{1,400})", re.IGNORECASE)
HOST_NAME = re.compile(r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,8}\.[a-z]{2,24}")
URL = re.compile(r"https?://[^\s<>\"']+")
COLOURS = ("#993333", "#336699", "#338833", "#886622", "#663399")

routes = web.RouteTableDef()


@dataclass
class Message:
    """One line of talk, wherever it came from."""

    network: str
    room: str
    nick: str
    text: str
    stamp: float
    media: Optional[str] = None


@dataclass
class History:
    """The last lines of every room, kept for the archive page."""

    depth: int = 500
    rooms: Dict[str, Deque[Message]] = field(default_factory=dict)

    def add(self, message: Message) -> None:
        lines = self.rooms.setdefault(message.room, deque(maxlen=self.depth))
        lines.append(message)

    def grep(self, room: str, needle: str) -> List[Message]:
        found = []
        for message in self.rooms.get(room, ()):
            if needle.lower() in message.text.lower():
                found.append(message)
        return found[-100:]


def nick_colour(nick: str) -> str:
    """Pick the same colour for the same nick every time."""
    digest = hashlib.md5(nick.encode("utf-8"), usedforsecurity=False).digest()
    return COLOURS[digest[0] % len(COLOURS)]


class IrcSide:
    """Writes to the IRC server."""

    def __init__(self, writer: asyncio.StreamWriter, channels: Dict[str, str]) -> None:
        self.writer = writer
        self.channels = channels

    async def send(self, command: str, *params: str) -> None:
        """Send one command; the last parameter may hold blanks."""
        cleaned = [re.sub(r"[\r\n\0]+", " ", param) for param in params]
        if cleaned:
            cleaned[-1] = ":" + cleaned[-1]
        line = " ".join([command, *cleaned])
        self.writer.write(line.encode("utf-8")[:IRC_LINE_LIMIT] + b"\r\n")
        await self.writer.drain()

    async def relay(self, message: Message) -> None:
        channel = self.channels.get(message.room)
        if channel is None:
            return
        for line in message.text.splitlines():
            if line.strip():
                await self.send("PRIVMSG", channel, f"<{message.nick}> {line}")

    async def rename(self, nick: str) -> None:
        """Change the bridge's own nick, raw, as the server wants no colon here."""
        if not NICK.fullmatch(nick):
            raise ValueError("that is no IRC nick")
        self.writer.write(f"NICK {nick}\r\n".encode("ascii"))
        await self.writer.drain()


class XmppSide:
    """Builds and reads the stanzas; the stream itself is handled elsewhere."""

    def __init__(self, conference: str, stream) -> None:
        self.conference = conference
        self.stream = stream

    def stanza(self, message: Message) -> str:
        to = saxutils.quoteattr(f"{message.room}@{self.conference}")
        body = saxutils.escape(f"{message.nick}: {message.text}")
        parts = [f"<message type='groupchat' to={to}>", f"<body>{body}</body>"]
        if message.media:
            url = saxutils.escape(message.media)
            parts.append(f"<x xmlns='jabber:x:oob'><url>{url}</url></x>")
        parts.append("</message>")
        return "".join(parts)

    def set_topic(self, room: str, topic: str) -> str:
        """The stanza that changes the subject of a room."""
        to = saxutils.quoteattr(f"{room}@{self.conference}")
        shown = saxutils.escape(" ".join(topic.split()))
        return f"<message type='groupchat' to={to}><subject>{shown}</subject></message>"

    def parse(self, raw: str, stamp: float) -> Optional[Message]:
        try:
            root = ElementTree.fromstring(raw)
        except (ElementTree.ParseError, ValueError):
            log.warning("unreadable stanza of %d characters", len(raw))
            return None
        body = root.findtext("{jabber:client}body")
        sender = root.get("from", "")
        if not body or "/" not in sender:
            return None
        address, nick = sender.split("/", 1)
        return Message("xmpp", address.split("@")[0], nick, body, stamp)


class MatrixSide:
    """Formats events for the Matrix room."""

    def __init__(self, session: aiohttp.ClientSession, base: str, token: str) -> None:
        self.session = session
        self.base = base
        self.token = token

    def formatted(self, message: Message) -> str:
        """Message as the HTML subset that Matrix clients show."""
        nick = html.escape(message.nick)
        text = html.escape(message.text).replace("\n", "<br>")
        pieces = [f'<font color="{nick_colour(message.nick)}"><b>{nick}</b></font>: {text}']
        if message.media and urlsplit(message.media).scheme in ("http", "https"):
            pieces.append(f'<a href="{html.escape(message.media)}">attachment</a>')
        return "<br>".join(pieces)

    async def send(self, room_id: str, message: Message, txn: str) -> None:
        url = urljoin(self.base, f"/_matrix/client/v3/rooms/{quote(room_id, safe='')}/send/m.room.message/{quote(txn, safe='')}")
        event = {
            "msgtype": "m.text",
            "body": f"{message.nick}: {message.text}",
            "format": "org.matrix.custom.html",
            "formatted_body": self.formatted(message),
        }
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.session.put(url, json=event, headers=headers) as answer:
            if answer.status != 200:
                log.error("matrix said %d for room %r", answer.status, room_id)


class PublicResolver(aiohttp.ThreadedResolver):
    """Resolver for link previews; only hosts on the open internet."""

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET):
        answers = await super().resolve(host, port, family)
        usable = [a for a in answers if ipaddress.ip_address(a["host"]).is_global]
        if not usable:
            raise OSError(f"no usable address for {host!r}")
        return usable


async def link_title(session: aiohttp.ClientSession, text: str) -> Optional[str]:
    """Fetch the title of the first link in a message, as a line of HTML.

    The session is the one made with PublicResolver.
    """
    match = URL.search(text)
    if match is None:
        return None
    url = match.group(0)
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return None
    if not HOST_NAME.fullmatch(host):
        return None
    try:
        async with session.get(url, allow_redirects=False, timeout=aiohttp.ClientTimeout(total=5)) as answer:
            head = await answer.content.read(PREVIEW_BYTES)
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as exc:
        log.info("no preview for %r: %r", url, exc)
        return None
    found = TITLE.search(head.decode("utf-8", "replace"))
    if found is None:
        return None
    title = html.unescape(found.group(1)).strip()
    return f'<p class="preview"><a href="{html.escape(url)}">{html.escape(title)}</a></p>'


def archive_line(message: Message) -> str:
    nick = html.escape(message.nick)
    text = html.escape(message.text)
    linked = URL.sub(lambda m: f'<a rel="nofollow" href="{m.group(0)}">{m.group(0)}</a>', text)
    return f'<li class="{html.escape(message.network)}"><b>{nick}</b> {linked}</li>'


@routes.get("/archive/{room}")
async def archive(request: web.Request) -> web.Response:
    room = request.match_info["room"]
    history: History = request.app["history"]
    if room not in request.app["public_rooms"]:
        return web.Response(
            text=f"<p>There is no public room {html.escape(room)}.</p>",
            content_type="text/html",
            status=404,
        )
    needle = request.query.get("q", "")
    lines = "\n".join(archive_line(message) for message in history.grep(room, needle))
    page = (
        f"<h1>{html.escape(room)}</h1>"
        f'<form><input name="q" value="{html.escape(needle)}"></form>'
        f"<ol>{lines}</ol>"
    )
    return web.Response(text=page, content_type="text/html")


@routes.post("/hook/tickets")
async def ticket_hook(request: web.Request) -> web.Response:
    """Announce a ticket; the ticket system signs what it sends."""
    body = await request.read()
    wanted = hmac.new(request.app["hook_key"], body, hashlib.sha256).hexdigest()
    given = request.headers.get("X-Ticket-Signature", "")
    if not hmac.compare_digest(wanted.encode(), given.encode("utf-8", "replace")):
        raise web.HTTPForbidden()
    try:
        event = json.loads(body)
        title, number = str(event["title"]), int(event["number"])
    except (ValueError, KeyError, TypeError):
        raise web.HTTPBadRequest()
    log.info("ticket %d: %r", number, title)
    irc: IrcSide = request.app["irc"]
    await irc.send("NOTICE", request.app["ticket_channel"], f"#{number} {title}")
    return web.json_response({"announced": number})


@routes.get("/log/{room}.txt")
async def download(request: web.Request) -> web.StreamResponse:
    room = request.match_info["room"]
    if room not in request.app["public_rooms"]:
        raise web.HTTPNotFound()
    lines = [f"<{m.nick}> {m.text}" for m in request.app["history"].grep(room, "")]
    return web.Response(
        text="\n".join(lines),
        content_type="text/plain",
        headers={
            "X-Content-Type-Options": "nosniff",
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(room, safe='')}.txt",
        },
    )


@routes.get("/avatar/{nick}.svg")
async def avatar(request: web.Request) -> web.Response:
    """A disc with the first letters of the nick."""
    nick = request.match_info["nick"]
    letters = saxutils.escape(request.query.get("letters", nick[:2]))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
        f'<circle cx="32" cy="32" r="32" fill="{nick_colour(nick)}"/>'
        f'<text x="32" y="42" text-anchor="middle" font-size="28">{letters}</text></svg>'
    )
    return web.Response(text=svg, content_type="image/svg+xml")
