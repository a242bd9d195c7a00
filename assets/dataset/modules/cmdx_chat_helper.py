"""Commands of the team chat helper.

Every public coroutine of :class:`Commands` that is listed in ``VERBS`` can be
called from a chat room: ``!calc 3 * (2 + 4)``, ``!dice 2d6``, ``!grep word``.
"""

import ast
import asyncio
import ipaddress
import json
import logging
import operator
import random
import re
import shlex
from collections import deque
from typing import Awaitable, Callable, Deque, Dict, List, NamedTuple, Optional

import aiohttp
import defusedxml.ElementTree as ET
from jinja2 import Environment
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

_LOGGER = logging.getLogger("chathelper")

VERBS = ("calc", "convert", "dice", "feed", "grep", "highlight", "ping", "remind", "spell", "trace")
ADMIN_VERBS = ("restart", "say")
MAX_EXPRESSION = 200
MAX_NODES = 60
MAX_DIGITS = 40
HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.I)
UNITS = {("km", "mi"): 0.621371, ("mi", "km"): 1.609344, ("kg", "lb"): 2.204623, ("lb", "kg"): 0.453592}
OPERATORS: Dict[type, Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
SERVICES = {"wiki": "wiki.service", "mail": "postfix.service", "bridge": "irc-bridge.service"}


class UserError(Exception):
    """The text goes back to the room."""


class Message(NamedTuple):
    room: str
    sender: str
    text: str


def evaluate(node: ast.AST, depth: int = 0) -> float:
    if depth > 20:
        raise UserError("That is nested too deeply.")
    if isinstance(node, ast.Expression):
        return evaluate(node.body, depth + 1)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -evaluate(node.operand, depth + 1)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left = evaluate(node.left, depth + 1)
        right = evaluate(node.right, depth + 1)
        if abs(left) > 10 ** MAX_DIGITS or abs(right) > 10 ** MAX_DIGITS:
            raise UserError("Those numbers are too large for me.")
        return OPERATORS[type(node.op)](left, right)
    raise UserError("I can only do + - * / % and brackets.")


async def run_tool(*argv: str, limit: float = 15.0) -> str:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), timeout=limit)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
        raise UserError("That took too long.")
    return output.decode("utf-8", "replace")[:1500]


class Commands:
    def __init__(self, session: aiohttp.ClientSession, config: dict) -> None:
        self.session = session
        self.config = config
        self.admins = frozenset(config.get("admins", ()))
        self.history: Dict[str, Deque[Message]] = {}
        self.templates = ImmutableSandboxedEnvironment(autoescape=True)
        self.house_templates = Environment(autoescape=True)

    async def dispatch(self, message: Message) -> Optional[str]:
        self.history.setdefault(message.room, deque(maxlen=500)).append(message)
        if not message.text.startswith("!"):
            return None
        verb, _, rest = message.text[1:].partition(" ")
        verb = verb.lower()
        if verb in ADMIN_VERBS:
            if message.sender not in self.admins:
                return "Only the operators can do that."
        elif verb not in VERBS:
            return "I do not know that one."
        handler: Callable[..., Awaitable[str]] = getattr(self, verb)
        try:
            return await handler(message, rest.strip())
        except UserError as exc:
            return str(exc)
        except Exception:
            _LOGGER.exception("command %s failed", verb)
            return "Something went wrong on my side."

    async def calc(self, message: Message, rest: str) -> str:
        if len(rest) > MAX_EXPRESSION:
            raise UserError("Please keep it shorter.")
        try:
            tree = ast.parse(rest, mode="eval")
        except (SyntaxError, ValueError):
            raise UserError("I cannot read that.")
        if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
            raise UserError("Please keep it simpler.")
        try:
            return f"{evaluate(tree):g}"
        except (ZeroDivisionError, OverflowError):
            raise UserError("That has no result.")

    async def convert(self, message: Message, rest: str) -> str:
        words = rest.split()
        try:
            amount, source, target = float(words[0]), words[1], words[-1]
            factor = UNITS[source, target]
        except (IndexError, KeyError, ValueError):
            raise UserError("Try: !convert 12 km to mi")
        return f"{amount:g} {source} are {amount * factor:.2f} {target}"

    async def dice(self, message: Message, rest: str) -> str:
        match = re.fullmatch(r"(\d{1,4})d(\d{1,4})", rest or "1d6")
        if match is None:
            raise UserError("Try: !dice 2d6")
        count, sides = int(match[1]), int(match[2])
        if not 1 <= count <= 50 or not 2 <= sides <= 1000:
            raise UserError("I do not have such dice.")
        rolls = [random.randint(1, sides) for _ in range(count)]
        return f"{' + '.join(map(str, rolls))} = {sum(rolls)}"

    async def ping(self, message: Message, rest: str) -> str:
        host = rest.lower()
        if not HOST.fullmatch(host):
            raise UserError("That is not a host name.")
        return await run_tool("ping", "-n", "-c", "3", "-w", "8", host)

    async def trace(self, message: Message, rest: str) -> str:
        try:
            address = ipaddress.ip_address(rest)
        except ValueError:
            raise UserError("I need an address for that.")
        if not address.is_global:
            raise UserError("Only public addresses, please.")
        return await run_tool("mtr", "--report", "--report-cycles", "3", str(address), limit=40.0)

    async def spell(self, message: Message, rest: str) -> str:
        dictionary = self.config.get("dictionary", "en_GB")
        line = f"printf %s {shlex.quote(rest[:400])} | hunspell -l -d {shlex.quote(dictionary)} | sort -u"
        process = await asyncio.create_subprocess_shell(line, stdout=asyncio.subprocess.PIPE)
        output, _ = await asyncio.wait_for(process.communicate(), timeout=10)
        words = output.decode("utf-8", "replace").split()
        return "Check these: " + ", ".join(words) if words else "All good."

    async def grep(self, message: Message, rest: str) -> str:
        if not rest:
            raise UserError("What shall I look for?")
        pattern = re.compile(r"\b" + re.escape(rest[:80]), re.IGNORECASE)
        hits: List[str] = []
        for old in self.history.get(message.room, ()):
            if old is not message and pattern.search(old.text):
                hits.append(f"<{old.sender}> {old.text}")
        return "\n".join(hits[-5:]) or "Nobody said that."

    async def highlight(self, message: Message, rest: str) -> str:
        name, _, text = rest.partition(" ")
        words = [word for word in name.split(",") if word]
        if len(words) > 10:
            raise UserError("Ten words at most.")
        expression = "|".join(re.escape(word) for word in words) or r"(?!)"
        return re.sub(expression, lambda match: f"*{match[0]}*", text[:1000])

    async def remind(self, message: Message, rest: str) -> str:
        """The text may hold {{ sender }} and {{ room }}."""
        try:
            template = self.templates.from_string(rest[:300])
            return template.render(sender=message.sender, room=message.room)
        except (SecurityError, TemplateError):
            raise UserError("That template does not work.")

    async def greeting(self, sender: str) -> str:
        template = self.house_templates.from_string("Welcome {{ sender }}! Try !calc or !dice.")
        return template.render(sender=sender)

    async def feed(self, message: Message, rest: str) -> str:
        address = self.config.get("feeds", {}).get(rest)
        if address is None:
            raise UserError("I do not follow that feed.")
        timeout = aiohttp.ClientTimeout(total=10)
        async with self.session.get(address, timeout=timeout) as reply:
            raw = await reply.content.read(512 * 1024)
        root = ET.fromstring(raw)
        titles = [item.findtext("title", "?") for item in root.iter("item")]
        return "\n".join(f"- {title.strip()}" for title in titles[:5])

    async def restart(self, message: Message, rest: str) -> str:
        unit = SERVICES.get(rest)
        if unit is None:
            raise UserError("I look after: " + ", ".join(sorted(SERVICES)))
        _LOGGER.info("restart of %s requested", unit)
        await run_tool("sudo", "systemctl", "restart", unit)
        return f"{unit} is coming back."

    async def say(self, message: Message, rest: str) -> str:
        try:
            body = json.loads(rest)
        except ValueError:
            raise UserError('Try: !say {"text": "..."}')
        return str(body.get("text", ""))[:500] if isinstance(body, dict) else ""
