"""Parts catalogue of the workshop: browse, search, adjust stock, export."""
import csv
import hashlib
import io
import logging
import re
import sqlite3
from functools import wraps
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    flash,
    g,
    jsonify,
    redirect,
    render_template,
    request,
    session,
    url_for,
)

log = logging.getLogger(__name__)
bp = Blueprint("parts", __name__, url_prefix="/parts")

SORTABLE = {"sku": "p.sku", "name": "p.name", "qty": "s.qty", "bin": "s.bin_code"}
PAGE_SIZE = 40
MAX_PAGE_SIZE = 200


def get_db():
    if "db" not in g:
        g.db = sqlite3.connect(current_app.config["PARTS_DB"])
        g.db.row_factory = sqlite3.Row
    return g.db


@bp.teardown_app_request
def close_db(exc=None):
    db = g.pop("db", None)
    if db is not None:
        db.close()


def login_required(view):
    @wraps(view)
    def wrapper(*args, **kwargs):
        if session.get("user_id") is None:
            return redirect(url_for("auth.login"))
        return view(*args, **kwargs)

    return wrapper


@bp.route("/")
@login_required
def index():
    db = get_db()
    sort = request.args.get("sort", "sku")
    direction = "DESC" if request.args.get("dir") == "desc" else "ASC"
    page = max(request.args.get("page", 1, type=int), 1)
    column = SORTABLE.get(sort, "p.sku")
    rows = db.execute(
        "SELECT p.id, p.sku, p.name, s.qty, s.bin_code FROM part p "
        "JOIN stock s ON s.part_id = p.id "
        f"ORDER BY {column} {direction} LIMIT ? OFFSET ?",
        (PAGE_SIZE, (page - 1) * PAGE_SIZE),
    ).fetchall()
    total = db.execute("SELECT COUNT(*) FROM part").fetchone()[0]
    return render_template(
        "parts/index.html", rows=rows, page=page, pages=-(-total // PAGE_SIZE), sort=sort
    )


@bp.route("/search")
@login_required
def search():
    term = request.args.get("q", "").strip()
    supplier = request.args.get("supplier")
    if len(term) < 2:
        return jsonify(items=[], message="Type at least two characters.")

    clauses = ["(p.name LIKE ? OR p.sku LIKE ?)"]
    params = [f"%{term}%", f"{term}%"]
    if supplier:
        clauses.append("p.supplier_code = ?")
        params.append(supplier)
    if request.args.get("in_stock") == "1":
        clauses.append("s.qty > 0")

    sql = (
        "SELECT p.id, p.sku, p.name, s.qty FROM part p "
        "LEFT JOIN stock s ON s.part_id = p.id WHERE " + " AND ".join(clauses)
    )
    limit = max(1, min(request.args.get("limit", PAGE_SIZE, type=int), MAX_PAGE_SIZE))
    cur = get_db().execute(sql + " ORDER BY p.name LIMIT ?", params + [limit])
    items = [dict(row) for row in cur]
    return jsonify(items=items, message=f"{len(items)} found")


@bp.route("/by-sku/<path:sku>")
@login_required
def by_sku(sku):
    wanted = sku.upper()
    row = get_db().execute(
        "SELECT id, sku, name, notes FROM part WHERE upper(sku) = ?", (wanted,)
    ).fetchone()
    if row is None:
        abort(404)
    history = get_db().execute(
        "SELECT moved_at, delta, reason FROM movement WHERE part_id = ? "
        "ORDER BY moved_at DESC LIMIT 20",
        (row["id"],),
    ).fetchall()
    return render_template("parts/detail.html", part=row, history=history)


def next_or_index(target):
    """Where to go after a form."""
    if target:
        target = target.replace("\\", "/")
        parts = urlsplit(target)
        if not parts.scheme and not parts.netloc and re.match(r"/(?![/\s])", target):
            return redirect(target)
    return redirect(url_for("parts.index"))


@bp.route("/<int:part_id>/adjust", methods=["POST"])
@login_required
def adjust(part_id):
    try:
        delta = int(request.form["delta"])
    except (KeyError, ValueError):
        flash("The amount must be a whole number.", "error")
        return next_or_index(request.form.get("next"))

    reason = request.form.get("reason", "").strip()[:120] or "manual"
    db = get_db()
    with db:
        cur = db.execute(
            "UPDATE stock SET qty = qty + ? WHERE part_id = ? AND qty + ? >= 0",
            (delta, part_id, delta),
        )
        if cur.rowcount == 0:
            flash("Not enough in stock.", "error")
            return next_or_index(request.form.get("next"))
        db.execute(
            "INSERT INTO movement (part_id, delta, reason, user_id) VALUES (?, ?, ?, ?)",
            (part_id, delta, reason, session.get("user_id")),
        )
    log.info("part %d adjusted by %d, reason %r", part_id, delta, reason)
    flash("Stock updated.", "info")
    return next_or_index(request.form.get("next"))


@bp.route("/bulk-tag", methods=["POST"])
@login_required
def bulk_tag():
    ids = request.form.getlist("part")
    tag = request.form.get("tag", "").strip().lower()
    if not ids or not tag:
        flash("Choose parts and a tag.", "error")
        return redirect(url_for("parts.index"))
    if len(ids) > MAX_PAGE_SIZE:
        abort(413)

    marks = ",".join("?" * len(ids))
    db = get_db()
    with db:
        cur = db.execute(f"UPDATE part SET tag = ? WHERE id IN ({marks})", [tag, *ids])
    flash(f"{cur.rowcount} parts tagged.", "info")
    return redirect(url_for("parts.index"))


def _cell(value):
    text = "" if value is None else str(value)
    if text[:1] in ("=", "+", "-", "@", "\t", "\r"):
        text = "'" + text
    return text


@bp.route("/export.csv")
@login_required
def export():
    warehouse = request.args.get("warehouse", "main")
    since = request.args.get("since")
    query = (
        "SELECT p.sku, p.name, s.qty, s.bin_code FROM part p "
        "JOIN stock s ON s.part_id = p.id WHERE s.warehouse = :warehouse"
    )
    binds = {"warehouse": warehouse}
    if since:
        query += " AND s.counted_at >= :since"
        binds["since"] = since

    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["sku", "name", "qty", "bin"])
    for row in get_db().execute(query + " ORDER BY p.sku", binds):
        writer.writerow([_cell(v) for v in row])
    return Response(
        out.getvalue(),
        mimetype="text/csv",
        headers={"Content-Disposition": "attachment; filename=parts.csv"},
    )


def table_counts():
    """Row counts for the status page."""
    counts = {}
    for table in ("part", "stock", "movement", "supplier"):
        counts[table] = get_db().execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
    return counts


def list_etag(rows):
    digest = hashlib.md5(usedforsecurity=False)
    for row in rows:
        digest.update(f"{row['id']}:{row['qty']};".encode())
    return digest.hexdigest()
