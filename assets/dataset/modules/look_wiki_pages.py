"""Page, history and transfer views of the Burrow wiki."""
import difflib
import hashlib
import io
import ipaddress
import logging
import os
import shutil
import socket
import subprocess
import tempfile
from urllib.parse import urljoin, urlsplit

import requests
from flask import (
    Blueprint,
    abort,
    current_app,
    flash,
    g,
    redirect,
    render_template,
    request,
    send_file,
    url_for,
)
from lxml import etree
from markupsafe import Markup, escape
from werkzeug.utils import secure_filename

from burrow.auth import login_required
from burrow.db import get_db

log = logging.getLogger(__name__)
pages = Blueprint("pages", __name__)

SORTS = {"title": "title", "newest": "updated DESC", "oldest": "updated"}
ATTACHMENT_TYPES = {".png", ".jpg", ".gif", ".pdf", ".odt", ".csv"}
ATTACHMENT_LIMIT = 8 * 1024 * 1024
PREVIEW_BYTES = 256 * 1024


def diff_cache_key(old_id: int, new_id: int) -> str:
    raw = f"diff:{old_id}:{new_id}".encode()
    return hashlib.md5(raw, usedforsecurity=False).hexdigest()


def count_by_namespace() -> dict:
    """Figures for the start page."""
    counts = {}
    for ns in ("main", "talk", "user", "file"):
        row = get_db().execute(
            "SELECT COUNT(*) FROM page WHERE deleted = 0 AND ns = '%s'" % ns
        ).fetchone()
        counts[ns] = row[0]
    return counts


@pages.get("/search")
def search():
    words = [w for w in request.args.get("q", "").split() if len(w) > 1][:8]
    namespace = request.args.get("ns", "main")
    sort = request.args.get("sort", "title")
    if not words:
        return render_template("search.html", rows=[], words=[])
    clauses = []
    params = [namespace]
    for word in words:
        clauses.append("body LIKE ?")
        params.append(f"%{word}%")
    order = SORTS.get(sort, "title")
    matching = " OR ".join(clauses)
    rows = get_db().execute(
        f"SELECT id, title, updated FROM page WHERE ns = ? AND ({matching})"
        f" ORDER BY {order} LIMIT 50",
        params,
    )
    found = [dict(row) for row in rows]
    if len(found) == 1 and request.args.get("go"):
        return redirect(url_for("pages.show", page_id=found[0]["id"]))
    return render_template("search.html", rows=found, words=words)


@pages.get("/page/<int:page_id>/diff")
def diff(page_id: int):
    """Two revisions of a page next to each other."""
    old_no = request.args.get("old", type=int)
    new_no = request.args.get("new", type=int)
    if old_no is None or new_no is None:
        abort(400)
    texts = {}
    for row in get_db().execute(
        "SELECT no, body, author FROM revision WHERE page_id = ? AND no IN (?, ?)",
        (page_id, old_no, new_no),
    ):
        texts[row["no"]] = (row["body"].splitlines(), row["author"])
    if old_no not in texts or new_no not in texts:
        abort(404)
    old_lines, old_author = texts[old_no]
    new_lines, new_author = texts[new_no]
    out = []
    for line in difflib.unified_diff(old_lines, new_lines, lineterm="", n=4):
        if line.startswith(("---", "+++")):
            continue
        kind = {"+": "add", "-": "del", "@": "hunk"}.get(line[:1], "same")
        out.append(f'<div class="{kind}">{escape(line)}</div>')
    return render_template(
        "diff.html",
        lines=Markup("\n".join(out)),
        old=(old_no, old_author),
        new=(new_no, new_author),
    )


@pages.post("/page/<int:page_id>/attach")
@login_required
def attach(page_id: int):
    upload = request.files.get("file")
    if upload is None or not upload.filename:
        flash("No file was chosen.")
        return redirect(url_for("pages.show", page_id=page_id))
    page = get_db().execute(
        "SELECT id, locked FROM page WHERE id = ?", (page_id,)
    ).fetchone()
    if page is None:
        abort(404)
    if page["locked"] and not g.user.is_editor:
        abort(403)
    name = secure_filename(upload.filename)
    stem, ext = os.path.splitext(name.lower())
    if not stem or ext not in ATTACHMENT_TYPES:
        flash("Files of this kind cannot be attached.")
        return redirect(url_for("pages.show", page_id=page_id))
    folder = os.path.join(current_app.config["FILES"], str(page_id))
    os.makedirs(folder, exist_ok=True)
    data = upload.stream.read(ATTACHMENT_LIMIT + 1)
    if len(data) > ATTACHMENT_LIMIT:
        abort(413)
    with open(os.path.join(folder, name), "wb") as out:
        out.write(data)
    get_db().execute(
        "INSERT OR REPLACE INTO attachment (page_id, name, size, owner)"
        " VALUES (?, ?, ?, ?)",
        (page_id, name, len(data), g.user.id),
    )
    get_db().commit()
    log.info("page %d: attachment of %d bytes by %d", page_id, len(data), g.user.id)
    return redirect(url_for("pages.show", page_id=page_id))


@pages.post("/page/<int:page_id>/revert")
@login_required
def revert(page_id: int):
    """Make an older revision the current one again."""
    db = get_db()
    number = request.form.get("no", type=int)
    page = db.execute(
        "SELECT id, owner, locked, body FROM page WHERE id = ?", (page_id,)
    ).fetchone()
    if page is None or number is None:
        abort(404)
    if page["owner"] != g.user.id and not g.user.is_editor:
        abort(403)
    revision = db.execute(
        "SELECT body FROM revision WHERE page_id = ? AND no = ?", (page_id, number)
    ).fetchone()
    if revision is None:
        abort(404)
    if revision["body"] != page["body"]:
        db.execute("UPDATE page SET body = ? WHERE id = ?", (revision["body"], page_id))
        db.execute(
            "INSERT INTO revision (page_id, no, body, author)"
            " SELECT ?, MAX(no) + 1, ?, ? FROM revision WHERE page_id = ?",
            (page_id, revision["body"], g.user.id, page_id),
        )
        db.commit()
        flash(f"Revision {number} is the current one again.")
    back = request.form.get("back", "")
    there = urlsplit(urljoin(request.host_url, back))
    if there.netloc != request.host or there.scheme not in ("http", "https"):
        return redirect(url_for("pages.show", page_id=page_id))
    return redirect(there.geturl())


def _public_address(host: str) -> str:
    """First address of a host, when every one of them is a public one."""
    found = [info[4][0] for info in socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)]
    for address in found:
        if not ipaddress.ip_address(address).is_global:
            raise ValueError("address is not public")
    return found[0]


def fetch_interwiki_preview(link: str) -> dict:
    """Title and first words of a page on one of the sister wikis."""
    parts = urlsplit(link)
    sisters = current_app.config["SISTER_WIKIS"]
    if parts.scheme != "https" or parts.hostname not in sisters:
        raise ValueError("not a sister wiki")
    _public_address(parts.hostname)
    answer = requests.get(
        f"https://{parts.hostname}/api/summary",
        params={"path": parts.path},
        timeout=6,
        allow_redirects=False,
        stream=True,
    )
    if answer.status_code != 200:
        log.info("sister wiki answered %d", answer.status_code)
        return {"title": parts.path.rsplit("/", 1)[-1], "words": ""}
    raw = answer.raw.read(PREVIEW_BYTES, decode_content=True)
    lines = raw.decode("utf-8", "replace").splitlines()
    title = lines[0][:120] if lines else ""
    return {"title": title, "words": " ".join(lines[1:])[:400]}


def import_dump(stream, author: int) -> int:
    """Read the pages of an XML dump; pages we already have are left alone."""
    db = get_db()
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    tree = etree.parse(stream, parser)
    added = 0
    for node in tree.getroot().iter("page"):
        title = (node.findtext("title") or "").strip()
        body = node.findtext("revision/text") or ""
        if not title or len(title) > 200:
            log.warning("dump holds a page without usable title")
            continue
        known = db.execute("SELECT 1 FROM page WHERE title = ?", (title,)).fetchone()
        if known:
            continue
        cur = db.execute(
            "INSERT INTO page (ns, title, body, owner) VALUES ('main', ?, ?, ?)",
            (title, body, author),
        )
        db.execute(
            "INSERT INTO revision (page_id, no, body, author) VALUES (?, 1, ?, ?)",
            (cur.lastrowid, body, author),
        )
        added += 1
    db.commit()
    log.info("dump import by %d: %d pages", author, added)
    return added


@pages.get("/page/<int:page_id>/print")
@login_required
def print_page(page_id: int):
    """The page as a PDF, made by the typesetter configured for this wiki."""
    page = get_db().execute(
        "SELECT title, body FROM page WHERE id = ? AND deleted = 0", (page_id,)
    ).fetchone()
    if page is None:
        abort(404)
    paper = request.args.get("paper", "a4")
    work = tempfile.mkdtemp(prefix="burrow-")
    source = os.path.join(work, "page.md")
    target = os.path.join(work, "page.pdf")
    try:
        with open(source, "w", encoding="utf-8") as out:
            out.write(f"# {page['title']}\n\n{page['body']}\n")
        done = subprocess.run(
            ["md2pdf", f"--paper={paper}", f"--title={page['title']}", source, target],
            timeout=40,
            capture_output=True,
        )
        if done.returncode != 0:
            log.error("typesetter ended with %d on page %d", done.returncode, page_id)
            abort(500)
        with open(target, "rb") as made:
            content = io.BytesIO(made.read())
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return send_file(content, mimetype="application/pdf")
