from __future__ import annotations

import csv
import hashlib
import io
import logging
import re
import secrets
from datetime import datetime, timezone
from functools import wraps
from typing import Any, Callable
from urllib.parse import quote, urlsplit

import bleach
import markdown
from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    g,
    jsonify,
    make_response,
    redirect,
    render_template,
    render_template_string,
    request,
    session,
    url_for,
)
from markupsafe import Markup, escape

from .models import Letter, Reader, db

bp = Blueprint("letters", __name__, url_prefix="/letters")
log = logging.getLogger(__name__)

ALLOWED_TAGS = {"p", "br", "em", "strong", "blockquote", "ul", "ol", "li", "a", "code"}
ALLOWED_ATTRS = {"a": ["href", "title"]}
CALLBACK = re.compile(r"[A-Za-z_$][\w$]{0,40}(?:\.[A-Za-z_$][\w$]{0,40}){0,3}", re.ASCII)
MAX_BODY = 20_000
SORTS = {"new": Letter.created.desc(), "old": Letter.created.asc(), "name": Letter.author_name.asc()}

SIGNATURE = """
<div class="signature">{{ name }}{% if town %}, {{ town }}{% endif %}</div>
"""


def editor_required(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        reader = g.get("reader")
        if reader is None or not reader.is_editor:
            abort(403)
        return view(*args, **kwargs)

    return wrapper


def csrf_token() -> str:
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(24)
    return session["csrf"]


def check_csrf() -> None:
    sent = request.form.get("csrf", "")
    kept = session.get("csrf", "")
    if not kept or not secrets.compare_digest(sent.encode(), kept.encode()):
        abort(400, "The form has expired, please send it again.")


@bp.before_app_request
def load_reader() -> None:
    reader_id = session.get("reader_id")
    g.reader = db.session.get(Reader, reader_id) if reader_id is not None else None


def page_etag(letters: list[Letter], sort: str) -> str:
    """Short cache key for a list page."""
    seen = "|".join(f"{letter.id}:{letter.version}" for letter in letters)
    return hashlib.md5(f"{sort}/{seen}".encode(), usedforsecurity=False).hexdigest()[:16]


def render_letter(text: str) -> Markup:
    """Turn what the reader typed into the markup shown in the column."""
    source = text.replace("\r\n", "\n").strip()
    if source.count("\n\n\n"):
        source = re.sub(r"\n{3,}", "\n\n", source)
    rendered = markdown.markdown(source, extensions=["sane_lists", "smarty"])
    cleaned = bleach.clean(rendered, tags=ALLOWED_TAGS, attributes=ALLOWED_ATTRS, strip=True)
    linked = bleach.linkify(cleaned, skip_tags={"code"})
    return Markup(linked)


def byline(letter: Letter) -> Markup:
    when = letter.created.strftime("%d %B %Y")
    parts = [Markup("<b>{}</b>").format(letter.author_name)]
    if letter.town:
        parts.append(Markup('<span class="town">{}</span>').format(letter.town))
    if letter.homepage and urlsplit(letter.homepage).scheme in ("http", "https"):
        parts.append(Markup('<a rel="nofollow" href="{}">home page</a>').format(letter.homepage))
    parts.append(Markup("<time>{}</time>").format(when))
    return Markup(" &middot; ").join(parts)


@bp.get("/")
def index() -> Response:
    sort = request.args.get("sort", "new")
    order = SORTS.get(sort, SORTS["new"])
    letters = Letter.query.filter_by(published=True).order_by(order).limit(40).all()
    response = make_response(
        render_template(
            "letters/index.html",
            letters=[(byline(letter), render_letter(letter.body)) for letter in letters],
            csrf=csrf_token(),
        )
    )
    response.set_etag(page_etag(letters, sort))
    return response.make_conditional(request)


@bp.get("/search")
def search() -> str:
    words = request.args.get("q", "").strip()
    if len(words) < 3:
        return render_template("letters/search.html", hits=[], notice="Please type three letters or more.")
    pattern = words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    hits = (
        Letter.query.filter_by(published=True)
        .filter(Letter.body.ilike(f"%{pattern}%", escape="\\"))
        .limit(30)
        .all()
    )
    if hits:
        notice = Markup("{} letters mention <q>{}</q>.").format(len(hits), words)
    else:
        notice = Markup("Nobody has written about <q>%s</q> yet.") % words
    return render_template("letters/search.html", hits=hits, notice=notice)


@bp.post("/")
def submit() -> Response:
    check_csrf()
    name = request.form.get("name", "").strip()[:80]
    town = request.form.get("town", "").strip()[:80]
    body = request.form.get("body", "")
    if not name or not body.strip():
        abort(400, "Name and letter are both needed.")
    if len(body) > MAX_BODY:
        abort(413)
    letter = Letter(author_name=name, town=town, body=body, created=datetime.now(timezone.utc))
    db.session.add(letter)
    db.session.commit()
    log.info("letter %d received from %r", letter.id, name)
    after = request.form.get("next", "")
    parts = urlsplit(after)
    if parts.scheme or parts.netloc or not re.fullmatch(r"/[A-Za-z0-9_-][A-Za-z0-9_/.-]*", after):
        after = url_for("letters.index")
    return redirect(after)


@bp.post("/preview")
def preview() -> str:
    check_csrf()
    body = request.form.get("body", "")[:MAX_BODY]
    name = request.form.get("name", "").strip()
    town = request.form.get("town", "").strip()
    signature = render_template_string(SIGNATURE, name=name, town=town)
    return f'<article class="preview">{render_letter(body)}{signature}</article>'


@bp.get("/latest.js")
def latest_js() -> Response:
    """The last five headlines, for the widget on partner sites."""
    callback = request.args.get("callback", "showLetters")
    if not CALLBACK.fullmatch(callback):
        abort(400, "bad callback name")
    letters = Letter.query.filter_by(published=True).order_by(Letter.created.desc()).limit(5)
    payload = jsonify([{"id": x.id, "name": x.author_name, "text": x.body[:140]} for x in letters])
    script = f"/**/{callback}({payload.get_data(as_text=True).strip()});"
    response = Response(script, mimetype="application/javascript")
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@bp.get("/<int:letter_id>/plain")
def plain(letter_id: int) -> Response:
    letter = Letter.query.filter_by(id=letter_id, published=True).first_or_404()
    text = f"{letter.author_name}\n{letter.town or ''}\n\n{letter.body}\n"
    response = Response(text, content_type="text/plain; charset=utf-8")
    response.headers["X-Content-Type-Options"] = "nosniff"
    filename = quote(f"{letter.author_name} {letter.id}.txt", safe="")
    response.headers["Content-Disposition"] = f"inline; filename*=UTF-8''{filename}"
    return response


@bp.get("/export.csv")
@editor_required
def export() -> Response:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["id", "name", "town", "published", "letter"])
    for letter in Letter.query.order_by(Letter.id):
        row = [letter.author_name, letter.town or "", letter.body]
        row = ["'" + cell if cell.lstrip()[:1] in ("=", "+", "-", "@") else cell for cell in row]
        writer.writerow([letter.id, row[0], row[1], int(letter.published), row[2]])
    return Response(
        out.getvalue(),
        mimetype="text/csv",
        headers={"Content-Disposition": "attachment; filename=letters.csv"},
    )


@bp.post("/<int:letter_id>/publish")
@editor_required
def publish(letter_id: int) -> Response:
    check_csrf()
    letter = Letter.query.get_or_404(letter_id)
    letter.published = request.form.get("state") == "on"
    letter.version += 1
    db.session.commit()
    log.info("letter %d published=%s by %d", letter.id, letter.published, g.reader.id)
    return redirect(url_for("letters.index"))


@bp.app_errorhandler(404)
def not_found(error: Exception) -> tuple[str, int]:
    page = (
        "<!doctype html><title>Not found</title>"
        f"<p>There is nothing at <code>{escape(request.path)}</code>.</p>"
        f'<p><a href="{url_for("letters.index")}">All letters</a></p>'
    )
    return page, 404


@bp.app_errorhandler(500)
def broken(error: Exception) -> tuple[str, int]:
    ticket = secrets.token_hex(4)
    log.error("ticket %s", ticket, exc_info=error)
    contact = current_app.config.get("CONTACT", "the web desk")
    return f"<p>Something broke. Please tell {escape(contact)} the number {ticket}.</p>", 500
