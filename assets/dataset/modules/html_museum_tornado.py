"""Touch-screen kiosk and curator pages of the town museum (Tornado)."""
import asyncio
import json
import logging
import os
import random
import re
import subprocess
import urllib.parse

import tornado.escape
import tornado.template
import tornado.web
import tornado.websocket
from tornado.escape import json_decode, json_encode, url_escape, xhtml_escape
from tornado.options import define, options

define("port", default=8810, type=int)
define("media", default="/srv/museum/media")
define("cookie_secret", default="", help="read from the unit file")

logger = logging.getLogger("museum.kiosk")

LANGS = {"en": "English", "fr": "Français", "cy": "Cymraeg"}
LABEL_SIZES = ("a4", "a5", "card")
SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,50}")

FRAME = tornado.template.Template("""<!doctype html>
<html lang="{{ lang }}"><head><meta charset="utf-8"><title>{{ title }}</title></head>
<body class="{{ mode }}"><h1>{{ title }}</h1>{% raw body %}</body></html>""")


class Catalogue:
    """All objects in the collection, from the nightly JSON export."""

    def __init__(self, path):
        self.path = path
        self.objects = {}
        self.comments = {}

    def load(self):
        with open(self.path, encoding="utf-8") as fh:
            rows = json.load(fh)
        self.objects = {row["ref"]: row for row in rows if row.get("ref")}
        logger.info("%d objects in the catalogue", len(self.objects))

    def pick(self, count):
        """A few objects for the idle screen."""
        shown = [row for row in self.objects.values() if row.get("on_show")]
        return random.sample(shown, min(count, len(shown)))

    def find(self, words):
        needle = words.casefold()
        return [
            row
            for row in self.objects.values()
            if needle in row["name"].casefold() or needle in row.get("story", "").casefold()
        ][:60]


class KioskHandler(tornado.web.RequestHandler):
    def initialize(self, catalogue):
        self.catalogue = catalogue

    def set_default_headers(self):
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "frame-ancestors 'self'")

    def get_current_user(self):
        name = self.get_secure_cookie("curator", max_age_days=1)
        return name.decode() if name else None

    def lang(self):
        wanted = self.get_query_argument("lang", "en")
        return wanted if wanted in LANGS else "en"

    def frame(self, title, body, mode="kiosk"):
        self.finish(FRAME.generate(title=title, body=body, mode=mode, lang=self.lang()))

    def write_error(self, status_code, **kwargs):
        reason = "Sorry, this screen is being repaired."
        if status_code == 404:
            reason = "We could not find %s." % xhtml_escape(self.request.path)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish("<h1>%d</h1><p>%s</p>" % (status_code, reason))

    def object_card(self, row):
        link = "/object/%s?lang=%s" % (url_escape(row["ref"], plus=False), self.lang())
        card = ['<li><a href="%s">%s</a>' % (xhtml_escape(link), xhtml_escape(row["name"]))]
        if row.get("maker"):
            card.append("<small>%s</small>" % xhtml_escape(row["maker"]))
        card.append("</li>")
        return "".join(card)


class MissingHandler(KioskHandler):
    def prepare(self):
        raise tornado.web.HTTPError(404)


class HomeHandler(KioskHandler):
    def get(self):
        cards = [self.object_card(row) for row in self.catalogue.pick(6)]
        switch = " ".join(
            '<a href="/?lang=%s">%s</a>' % (code, xhtml_escape(name)) for code, name in LANGS.items()
        )
        self.frame("Town Museum", "<ul>%s</ul><nav>%s</nav>" % ("".join(cards), switch))


class SearchHandler(KioskHandler):
    def get(self):
        words = self.get_query_argument("q", "")
        if len(words) > 60:
            raise tornado.web.HTTPError(400)
        logger.info("kiosk search %r", words)
        rows = self.catalogue.find(words) if words else []
        shown = xhtml_escape(words)
        body = '<form><input name="q" value="%s"><button>Search</button></form>' % shown
        if words and not rows:
            body += "<p>No object matches “%s”.</p>" % shown
        body += "<ul>%s</ul>" % "".join(self.object_card(row) for row in rows)
        self.frame("Search", body)


class ObjectHandler(KioskHandler):
    async def get(self, ref):
        row = self.catalogue.objects.get(urllib.parse.unquote(ref))
        if row is None:
            raise tornado.web.HTTPError(404)
        story = row.get("story_" + self.lang()) or row.get("story", "")
        paragraphs = []
        for chunk in re.split(r"\n\s*\n", story):
            chunk = tornado.escape.linkify(chunk.strip(), extra_params='rel="nofollow"')
            if chunk:
                paragraphs.append("<p>%s</p>" % chunk)
        for who, text in self.catalogue.comments.get(row["ref"], [])[-10:]:
            paragraphs.append("<blockquote>%s<cite>%s</cite></blockquote>" % (xhtml_escape(text), xhtml_escape(who)))
        blob = json_encode({"ref": row["ref"], "name": row["name"], "maker": row.get("maker")})
        paragraphs.append("<script>kiosk.show(%s)</script>" % blob)
        self.frame(row["name"], "\n".join(paragraphs))


class CommentHandler(KioskHandler):
    def post(self, ref):
        if ref not in self.catalogue.objects:
            raise tornado.web.HTTPError(404)
        who = self.get_body_argument("who", "a visitor")[:40]
        text = self.get_body_argument("text")[:600]
        kept = self.catalogue.comments.setdefault(ref, [])
        kept.append((who, text))
        del kept[:-50]
        self.frame("Thank you", "<p>Thank you, %s, your thoughts are on the wall now.</p>" % xhtml_escape(who))


class LoginHandler(KioskHandler):
    def get(self):
        target = self.get_query_argument("next", "/curator/labels")
        form = (
            '<form method="post">%s<input name="pin" type="password">'
            '<input type="hidden" name="next" value="%s"><button>Open</button></form>'
        )
        self.frame("Curators", form % (self.xsrf_form_html(), xhtml_escape(target)), mode="office")

    async def post(self):
        pin = self.get_body_argument("pin", "")
        name = await self.application.settings["pin_check"](pin, self.request.remote_ip)
        if name is None:
            raise tornado.web.HTTPError(403)
        self.set_secure_cookie("curator", name, expires_days=1, httponly=True, secure=True, samesite="Lax")
        target = self.get_body_argument("next", "")
        if not re.fullmatch(r"/curator/[a-z]+(\?ref=[A-Za-z0-9.-]+)?", target):
            target = "/curator/labels"
        self.redirect(target)


class LabelHandler(KioskHandler):
    """Prints the little card that stands beside an object."""

    @tornado.web.authenticated
    def get(self):
        row = self.catalogue.objects.get(self.get_query_argument("ref", ""))
        if row is None:
            raise tornado.web.HTTPError(404)
        size = self.get_query_argument("size", "card")
        if size not in LABEL_SIZES:
            raise tornado.web.HTTPError(400)
        curator_note = self.get_query_argument("note", "")
        body = '<div class="label %s"><b>%s</b><p>%s</p></div>' % (
            size,
            xhtml_escape(row["name"]),
            xhtml_escape(curator_note),
        )
        self.frame("Label", body, mode="print")

    @tornado.web.authenticated
    async def post(self):
        ref = self.get_body_argument("ref")
        size = self.get_body_argument("size", "card")
        if size not in LABEL_SIZES or not SAFE_NAME.fullmatch(ref):
            raise tornado.web.HTTPError(400)
        argv = ["/usr/bin/lp", "-d", "labels", "-o", "media=" + size, "--", os.path.join(options.media, ref + ".pdf")]
        code = await asyncio.to_thread(subprocess.call, argv)
        logger.info("label %s printed by %r, status %d", ref, self.current_user, code)
        self.write({"ok": code == 0})


class PhotoHandler(KioskHandler):
    def get(self, name):
        if not SAFE_NAME.fullmatch(name):
            raise tornado.web.HTTPError(404)
        path = os.path.join(options.media, name + ".jpg")
        title = self.get_query_argument("as", name)
        try:
            with open(path, "rb") as fh:
                data = fh.read()
        except FileNotFoundError:
            raise tornado.web.HTTPError(404)
        self.set_header("Content-Type", "image/jpeg")
        self.set_header("Content-Disposition", "inline; filename*=UTF-8''" + url_escape(title + ".jpg", plus=False))
        self.finish(data)


class PanelSocket(tornado.websocket.WebSocketHandler):
    screens = set()

    def prepare(self):
        if not self.get_secure_cookie("curator", max_age_days=1):
            raise tornado.web.HTTPError(403)

    def check_origin(self, origin):
        return urllib.parse.urlsplit(origin).netloc == self.request.host

    def open(self):
        self.screens.add(self)

    def on_close(self):
        self.screens.discard(self)

    def on_message(self, message):
        try:
            data = json_decode(message)
            room, text = str(data["room"])[:20], str(data["text"])[:200]
        except (ValueError, KeyError, TypeError):
            return
        markup = "<li><b>%s</b> %s</li>" % (xhtml_escape(room), xhtml_escape(text))
        for screen in list(self.screens):
            screen.write_message({"html": markup})


def make_app(catalogue, pin_check):
    if len(options.cookie_secret) < 32:
        raise SystemExit("--cookie-secret is missing or too short")
    args = {"catalogue": catalogue}
    return tornado.web.Application(
        [
            (r"/", HomeHandler, args),
            (r"/search", SearchHandler, args),
            (r"/object/([^/]+)", ObjectHandler, args),
            (r"/object/([^/]+)/comment", CommentHandler, args),
            (r"/photo/([^/]+)", PhotoHandler, args),
            (r"/login", LoginHandler, args),
            (r"/curator/labels", LabelHandler, args),
            (r"/panel", PanelSocket),
        ],
        default_handler_class=MissingHandler,
        default_handler_args=args,
        cookie_secret=options.cookie_secret,
        xsrf_cookies=True,
        login_url="/login",
        pin_check=pin_check,
    )
