"""Back office and public views of the Pergola CMS."""
import hashlib
import hmac
import io
import ipaddress
import logging
import os
import random
import secrets
import socket
import subprocess
import zipfile
from urllib.parse import urljoin, urlparse

import requests
from flask import (
    Blueprint, abort, current_app, flash, g, jsonify, redirect,
    render_template, request, send_file, session, url_for,
)
from lxml import etree
from markupsafe import Markup, escape
from werkzeug.security import check_password_hash
from werkzeug.utils import secure_filename

from .db import get_db

log = logging.getLogger("pergola.admin")
bp = Blueprint("admin", __name__, url_prefix="/admin")

MEDIA_TYPES = {"png", "jpg", "jpeg", "gif", "webp", "pdf"}
SORT_COLUMNS = {"title": "p.title", "changed": "p.changed_at", "author": "u.name"}
EMBED_LIMIT = 512 * 1024
ARCHIVE_LIMIT = 200 * 1024 * 1024


@bp.before_request
def check_form_token():
    """Every form of the back office carries the token of its session."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return None
    sent = request.form.get("_token") or request.headers.get("X-Pergola-Token", "")
    expected = session.get("_token")
    if not expected or not hmac.compare_digest(sent.encode(), expected.encode()):
        log.info("form token mismatch on endpoint %s", request.endpoint)
        abort(400)
    return None


def list_pages(db, site_id, query, sort="changed", descending=True, page=1, per_page=25):
    """Rows for the page table, together with the total for the pager."""
    column = SORT_COLUMNS.get(sort, "p.changed_at")
    direction = "DESC" if descending else "ASC"
    page = max(1, int(page))
    per_page = min(100, max(5, int(per_page)))

    where = ["p.site_id = ?", "p.deleted = 0"]
    params = [site_id]
    for word in query.split():
        where.append("(p.title LIKE ? OR p.slug LIKE ?)")
        params.extend(["%" + word + "%", "%" + word + "%"])
    clause = " AND ".join(where)

    total = db.execute("SELECT count(*) FROM page p WHERE " + clause, params).fetchone()[0]
    rows = db.execute(
        "SELECT p.id, p.title, p.slug, p.changed_at, u.name FROM page p "
        "JOIN user u ON u.id = p.author_id WHERE " + clause
        + " ORDER BY " + column + " " + direction + " LIMIT ? OFFSET ?",
        params + [per_page, (page - 1) * per_page],
    ).fetchall()
    return rows, total


@bp.route("/media/upload", methods=["POST"])
def upload_media():
    if g.user is None or not g.user.can("media.add"):
        abort(403)
    upload = request.files.get("file")
    if upload is None or not upload.filename:
        flash("Choose a file first.")
        return redirect(url_for("admin.media"))

    name = secure_filename(upload.filename)
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem or extension.lower() not in MEDIA_TYPES:
        flash("This kind of file cannot be stored in the library.")
        return redirect(url_for("admin.media"))

    folder = os.path.join(current_app.config["MEDIA_ROOT"], str(g.site.id))
    os.makedirs(folder, mode=0o750, exist_ok=True)
    target = os.path.join(folder, name)
    counter = 1
    while os.path.exists(target):
        target = os.path.join(folder, "%s-%d.%s" % (stem, counter, extension))
        counter += 1
    upload.save(target)

    db = get_db()
    db.execute(
        "INSERT INTO media (site_id, owner_id, file, label) VALUES (?, ?, ?, ?)",
        (g.site.id, g.user.id, os.path.basename(target), request.form.get("label", stem)[:120]),
    )
    db.commit()
    log.info("media %d stored by user %d", counter, g.user.id)
    return redirect(url_for("admin.media"))


@bp.route("/theme/<theme>/asset")
def theme_asset(theme):
    """Assets of installed themes, for the live preview."""
    if theme not in current_app.config["THEMES"]:
        abort(404)
    base = os.path.realpath(os.path.join(current_app.config["THEME_ROOT"], theme))
    wanted = request.args.get("file", "style.css")
    path = os.path.realpath(os.path.join(base, wanted))
    if not path.startswith(base + os.sep):
        abort(404)
    if not os.path.isfile(path):
        log.debug("preview asked for a missing asset of %s", theme)
        abort(404)
    response = send_file(path, conditional=True)
    response.headers["Cache-Control"] = "no-store" if current_app.debug else "max-age=300"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def import_export_file(stream, site_id, author_id):
    """Read an export of another installation and create drafts from it."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        tree = etree.parse(stream, parser)
    except etree.XMLSyntaxError as exc:
        raise ValueError("not an export file (line %s)" % exc.lineno) from exc

    db = get_db()
    created = skipped = 0
    for item in tree.getroot().iterfind("channel/item"):
        title = (item.findtext("title") or "").strip()
        slug = (item.findtext("slug") or "").strip().lower()
        if not title or not slug:
            skipped += 1
            continue
        row = db.execute(
            "SELECT id FROM page WHERE site_id = ? AND slug = ?", (site_id, slug)
        ).fetchone()
        if row is not None:
            skipped += 1
            continue
        db.execute(
            "INSERT INTO page (site_id, author_id, title, slug, body, state, deleted) "
            "VALUES (?, ?, ?, ?, ?, 'draft', 0)",
            (site_id, author_id, title, slug, item.findtext("body") or ""),
        )
        created += 1
    db.commit()
    log.info("import into site %d: %d created, %d skipped", site_id, created, skipped)
    return created, skipped


def fetch_cover(url, connect):
    """Bytes of a cover image; connect(host, address, path) reads from one address."""
    parts = urlparse(url)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("only https addresses can be used as a cover")
    address = None
    for info in socket.getaddrinfo(parts.hostname, 443, type=socket.SOCK_STREAM):
        address = ipaddress.ip_address(info[4][0].split("%")[0])
        break
    if address is None or not address.is_global or address.is_multicast:
        raise ValueError("this host cannot be used for a cover")
    with connect(parts.hostname, str(address), parts.path or "/") as stream:
        data = stream.read(EMBED_LIMIT + 1)
    if len(data) > EMBED_LIMIT:
        raise ValueError("cover too large")
    return data


@bp.route("/embed/preview")
def embed_preview():
    """Ask a provider for the oEmbed description of a link the editor pasted."""
    if g.user is None:
        abort(401)
    link = request.args.get("link", "")
    provider = None
    for prefix, endpoint in current_app.config["EMBED_PROVIDERS"].items():
        if link.startswith(prefix):
            provider = endpoint
            break
    if provider is None:
        return jsonify(error="unknown provider"), 404

    try:
        answer = requests.get(
            provider, params={"url": link, "format": "json"},
            timeout=6, allow_redirects=False, stream=True,
        )
        answer.raise_for_status()
        raw = answer.raw.read(EMBED_LIMIT + 1, decode_content=True)
        if len(raw) > EMBED_LIMIT:
            return jsonify(error="answer too large"), 502
    except requests.RequestException:
        log.exception("oEmbed provider failed")
        return jsonify(error="provider did not answer"), 502

    data = current_app.json.loads(raw)
    return jsonify(title=str(data.get("title", ""))[:200], kind=str(data.get("type", "link")))


@bp.route("/page/<int:page_id>/delete", methods=["POST"])
def delete_page(page_id):
    if g.user is None:
        return redirect(url_for("admin.login", next=request.path))
    db = get_db()
    page = db.execute(
        "SELECT id, site_id, author_id, title, locked FROM page WHERE id = ?", (page_id,)
    ).fetchone()
    if page is None or page["site_id"] != g.site.id:
        abort(404)
    if page["author_id"] != g.user.id and not g.user.can("page.delete_any"):
        abort(403)
    if page["locked"]:
        flash("The page is locked by a running workflow.")
        return redirect(url_for("admin.pages"))
    db.execute("UPDATE page SET deleted = 1 WHERE id = ?", (page_id,))
    db.execute("DELETE FROM menu_entry WHERE page_id = ?", (page_id,))
    db.commit()
    flash("The page was moved to the bin.")
    return redirect(url_for("admin.pages"))


@bp.route("/login", methods=["GET", "POST"])
def login():
    target = request.values.get("next", "")
    if request.method == "GET":
        session.setdefault("_token", secrets.token_urlsafe(24))
        return render_template("admin/login.html", next=target)

    row = get_db().execute(
        "SELECT id, password, active FROM user WHERE email = ?",
        (request.form.get("email", "").strip().lower(),),
    ).fetchone()
    if row is None or not row["active"] or not check_password_hash(row["password"], request.form.get("password", "")):
        flash("Wrong address or password.")
        return render_template("admin/login.html", next=target), 401

    session.clear()
    session["user_id"] = row["id"]
    session["_token"] = secrets.token_urlsafe(24)
    host = urlparse(request.host_url).netloc
    parts = urlparse(urljoin(request.host_url, target.replace("\\", "/")))
    if parts.scheme not in ("http", "https") or parts.netloc != host:
        return redirect(url_for("admin.dashboard"))
    return redirect(parts.geturl())


def render_teaser(page, width=3):
    """Markup of one teaser box as the front page puts it together."""
    tags = Markup(", ").join(
        Markup('<a rel="tag" href="{}">{}</a>').format(url_for("site.tag", name=tag), tag)
        for tag in page.tags
    )
    head = Markup('<h{0}>{1}</h{0}>').format(min(6, max(2, int(width))), page.title)
    summary = escape(page.summary or page.body[:240])
    byline = Markup("<small>{} &middot; {}</small>").format(page.author.name, page.changed_at.date())
    return Markup("<article>") + head + Markup("<p>") + summary + Markup("</p>") + byline + tags + Markup("</article>")


def install_theme(blob, name, themes_root):
    """Unpack an uploaded theme below themes_root and return the file names."""
    target = os.path.realpath(os.path.join(themes_root, secure_filename(name)))
    if os.path.dirname(target) != os.path.realpath(themes_root):
        raise ValueError("theme name missing")
    written = []
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        entries = [e for e in archive.infolist() if not e.is_dir()]
        if sum(e.file_size for e in entries) > ARCHIVE_LIMIT:
            raise ValueError("theme too large")
        for entry in entries:
            path = os.path.realpath(os.path.join(target, entry.filename))
            if os.path.commonpath([target, path]) != target:
                raise ValueError("theme holds files outside its folder")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as out:
                out.write(archive.read(entry))
            written.append(entry.filename)
    log.info("theme installed, %d files", len(written))
    return written


def start_password_reset(db, email, mailer):
    row = db.execute("SELECT id FROM user WHERE email = ? AND active = 1", (email,)).fetchone()
    if row is None:
        return False
    token = secrets.token_urlsafe(32)
    db.execute(
        "INSERT INTO reset (user_id, digest, created) VALUES (?, ?, datetime('now'))",
        (row["id"], hashlib.sha256(token.encode()).hexdigest()),
    )
    db.commit()
    mailer.send(email, "reset", link=url_for("admin.reset", token=token, _external=True))
    log.info("password reset started for user %d", row["id"])
    return True


def fragment_key(template, *parts):
    text = "\x1f".join([template] + [str(p) for p in parts])
    return "frag:" + hashlib.md5(text.encode("utf-8"), usedforsecurity=False).hexdigest()


def rebuild_search_index():
    delay = random.uniform(0, 4)
    result = subprocess.run(["pergola-index", "--rebuild", "--delay", "%.1f" % delay], timeout=900)
    return result.returncode == 0
