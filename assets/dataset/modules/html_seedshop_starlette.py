import hmac
import json
import logging
import os
import re
import uuid
from datetime import datetime, timezone
from email.utils import format_datetime
from html import escape
from urllib.parse import quote, urlencode, urlsplit
from xml.sax.saxutils import escape as xesc, quoteattr

import markdown_it
import nh3
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from .stock import Stock

log = logging.getLogger("seedshop")
SITE = os.environ.get("SHOP_URL", "https://seeds.example")
ADMIN_KEY = os.environ["SHOP_ADMIN_KEY"]
PARTNERS = {"gardenweb.example", "allotments.example", "seeds.example"}
UPLOADS = "/srv/seedshop/uploads"
IMAGE_HEADS = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg"}
MAX_UPLOAD = 3 * 1024 * 1024
TAGS = {"p", "em", "strong", "ul", "ol", "li", "h3", "a", "br"}
FUNC_NAME = re.compile(r"[A-Za-z_]\w{0,30}", re.ASCII)
SKU = re.compile(r"[A-Z]{2}-\d{3,5}")

md = markdown_it.MarkdownIt("commonmark")
stock = Stock(os.environ.get("SHOP_DB", "stock.sqlite"))


def shell(title, body, *, head=""):
    return HTMLResponse(
        f"<!doctype html><html lang=en><head><title>{escape(title)}</title>{head}</head>"
        f"<body><main>{body}</main></body></html>",
        headers={"Content-Security-Policy": "frame-ancestors 'none'; base-uri 'self'"},
    )


def describe(source):
    """Growing notes in markdown -> markup for the product page."""
    rendered = md.render(source or "")
    return nh3.clean(rendered, tags=TAGS, attributes={"a": {"href"}}, url_schemes={"https", "mailto"})


def pounds(pence):
    whole, rest = divmod(int(pence), 100)
    return f"£{whole}.{rest:02d}"


def tile(seed):
    img = ""
    if seed.photo and re.fullmatch(r"[0-9a-f]{32}\.(png|jpg)", seed.photo):
        img = f'<img src="/photo/{seed.photo}" alt="{escape(seed.name)}">'
    return (
        f'<li data-sku="{escape(seed.sku)}">{img}<a href="/seed/{quote(seed.sku, safe="")}">'
        f"{escape(seed.name)}</a> <i>{escape(seed.latin)}</i> {pounds(seed.price)}</li>"
    )


def json_ld(seed):
    data = {
        "@context": "https://schema.org",
        "@type": "Product",
        "name": seed.name,
        "sku": seed.sku,
        "description": seed.blurb,
    }
    text = json.dumps(data, ensure_ascii=False)
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/ld+json">{text}</script>'


async def index(request):
    words = request.query_params.get("q", "")[:60]
    page = request.query_params.get("page", "1")
    page = int(page) if page.isdecimal() and len(page) < 5 else 1
    seeds = await stock.search(words, limit=24, offset=24 * max(page - 1, 0))
    body = f'<form><input name="q" value="{escape(words)}"></form>'
    if seeds:
        more = urlencode({"q": words, "page": page + 1})
        body += f'<ul>{"".join(tile(seed) for seed in seeds)}</ul><a href="/?{escape(more)}">More</a>'
    else:
        log.info("nothing found for %s", json.dumps(words))
        body += f"<p>We have no seeds called <em>{escape(words)}</em>.</p>"
    return shell("Seeds", body)


async def seed_page(request):
    sku = request.path_params["sku"]
    seed = await stock.get(sku) if SKU.fullmatch(sku) else None
    if seed is None:
        raise HTTPException(404)
    reviews = []
    for review in await stock.reviews(sku):
        stars = "★" * max(0, min(review.stars, 5))
        reviews.append(f"<dt>{escape(review.author)} {stars}</dt><dd>{escape(review.text)}</dd>")
    body = f"<h1>{escape(seed.name)}</h1>{describe(seed.notes)}<dl>{''.join(reviews)}</dl>"
    return shell(seed.name, body, head=json_ld(seed))


async def sitemap(request):
    urls = []
    async for seed in stock.all():
        loc = f"{SITE}/seed/{quote(seed.sku, safe='')}"
        stamp = seed.changed.astimezone(timezone.utc).strftime("%Y-%m-%d")
        urls.append(f"<url><loc>{xesc(loc)}</loc><lastmod>{stamp}</lastmod></url>")
    text = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
    return Response(text + "".join(urls) + "</urlset>", media_type="application/xml")


async def news(request):
    now = format_datetime(datetime.now(timezone.utc))
    items = []
    for post in await stock.posts(limit=20):
        enclosure = ""
        if post.photo_url:
            enclosure = f"<enclosure url={quoteattr(post.photo_url)} type={quoteattr(post.photo_type)}/>"
        items.append(
            f"<item><title>{xesc(post.title)}</title><guid isPermaLink='false'>{post.id:d}</guid>"
            f"<description>{xesc(describe(post.text))}</description>{enclosure}</item>"
        )
    feed = f"<rss version='2.0'><channel><title>Seed news</title><pubDate>{now}</pubDate>{''.join(items)}</channel></rss>"
    return Response(feed, media_type="application/rss+xml")


async def widget(request):
    func = request.query_params.get("cb", "seeds")
    if not FUNC_NAME.fullmatch(func):
        return PlainTextResponse("cb?", status_code=400)
    rows = [{"sku": s.sku, "name": s.name, "price": pounds(s.price)} for s in await stock.search("", limit=5, offset=0)]
    return Response(
        f"/**/ typeof {func} === 'function' && {func}({json.dumps(rows)});",
        media_type="text/javascript",
        headers={"X-Content-Type-Options": "nosniff"},
    )


async def leave(request):
    to = request.query_params.get("to", "")
    parts = urlsplit(to)
    if parts.scheme != "https" or parts.netloc not in PARTNERS or "\\" in to:
        return shell("Leaving", f"<p>We do not know the shop at <code>{escape(to)}</code>.</p>")
    return RedirectResponse(to, status_code=303, background=BackgroundTask(stock.count_click, parts.netloc))


async def photo_upload(request):
    key = request.headers.get("x-admin-key", "")
    if not hmac.compare_digest(key.encode(), ADMIN_KEY.encode()):
        raise HTTPException(403)
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_UPLOAD:
            raise HTTPException(413)
    for head, ext in IMAGE_HEADS.items():
        if data.startswith(head):
            break
    else:
        raise HTTPException(415)
    name = uuid.uuid4().hex + ext
    with open(os.path.join(UPLOADS, name), "xb") as fh:
        fh.write(data)
    return JSONResponse({"photo": name}, status_code=201)


async def photo(request):
    name = request.path_params["name"]
    if not re.fullmatch(r"[0-9a-f]{32}\.(png|jpg)", name):
        raise HTTPException(404)
    try:
        with open(os.path.join(UPLOADS, name), "rb") as fh:
            data = fh.read()
    except FileNotFoundError:
        raise HTTPException(404)
    kind = "image/png" if name.endswith(".png") else "image/jpeg"
    return Response(data, media_type=kind, headers={"X-Content-Type-Options": "nosniff"})


async def on_http_error(request, exc):
    if exc.status_code == 404:
        body = f"<p>Nothing grows at {escape(request.url.path)}.</p>"
    else:
        body = f"<p>{escape(str(exc.detail))}</p>"
    page = shell(f"Error {exc.status_code}", body)
    page.status_code = exc.status_code
    return page


async def on_crash(request, exc):
    ticket = uuid.uuid4().hex[:8]
    log.error("crash %s at %r", ticket, request.url.path, exc_info=exc)
    return PlainTextResponse(f"Something withered. Quote {ticket} when you write to us.", status_code=500)


def build():
    if len(ADMIN_KEY) < 20:
        raise RuntimeError("SHOP_ADMIN_KEY is too short")
    routes = [
        Route("/", index),
        Route("/seed/{sku}", seed_page),
        Route("/sitemap.xml", sitemap),
        Route("/news.rss", news),
        Route("/widget.js", widget),
        Route("/leave", leave),
        Route("/photo", photo_upload, methods=["POST"]),
        Route("/photo/{name:path}", photo),
    ]
    hosts = [urlsplit(SITE).hostname, "localhost"]
    return Starlette(
        debug=False,
        routes=routes,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
        exception_handlers={HTTPException: on_http_error, Exception: on_crash},
    )
