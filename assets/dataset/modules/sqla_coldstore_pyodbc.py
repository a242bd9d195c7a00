import functools
import io
import logging
import os
import pathlib
import uuid
from collections import defaultdict
from datetime import date, timedelta

import openpyxl
import pyodbc
from flask import Blueprint, abort, current_app, g, jsonify, request, send_file
from markupsafe import Markup, escape

bp = Blueprint("coldstore", __name__, url_prefix="/stock")
log = logging.getLogger(__name__)

VIEWS = {"lots": "rpt.LotAges", "temps": "rpt.ChamberTemps", "moves": "rpt.DailyMoves"}
LOT_COLUMNS = ("LotNo", "Article", "Chamber", "Pallets", "BestBefore", "ArrivedAt")
SHEETS = {".xlsx", ".xlsm"}
MAX_ROWS = 5000


def db():
    if "cold_db" not in g:
        g.cold_db = pyodbc.connect(current_app.config["COLDSTORE_DSN"], timeout=10)
    return g.cold_db


@bp.teardown_app_request
def close_db(exc):
    con = g.pop("cold_db", None)
    if con is not None:
        if exc is not None:
            con.rollback()
        con.close()


def needs_role(role):
    def deco(view):
        @functools.wraps(view)
        def inner(*args, **kwargs):
            user = getattr(g, "user", None)
            if user is None:
                abort(401)
            if role not in user.roles:
                abort(403)
            return view(*args, **kwargs)

        return inner

    return deco


def fetch(sql, *params, one=False):
    cur = db().cursor()
    cur.execute(sql, params)
    names = [d[0] for d in cur.description]
    if one:
        row = cur.fetchone()
        return dict(zip(names, row)) if row else None
    return [dict(zip(names, row)) for row in cur.fetchmany(MAX_ROWS)]


@bp.get("/lots")
@needs_role("viewer")
def lots():
    """Lots in stock, filtered by what the query string names."""
    clauses, params = ["Pallets > 0"], []
    article = request.args.get("article")
    chambers = request.args.getlist("chamber")
    before = request.args.get("before")
    if article:
        clauses.append("Article LIKE ?")
        params.append(article + "%")
    if chambers:
        clauses.append("Chamber IN (" + ", ".join("?" * len(chambers)) + ")")
        params += chambers
    if before:
        clauses.append("BestBefore < ?")
        params.append(before)
    sort = request.args.get("sort", "BestBefore")
    if sort not in LOT_COLUMNS:
        abort(400, "unknown sort column")
    way = "DESC" if request.args.get("desc") == "1" else "ASC"
    sql = (
        f"SELECT TOP (500) {', '.join(LOT_COLUMNS)} FROM stock.Lots"
        f" WHERE {' AND '.join(clauses)} ORDER BY {sort} {way}"
    )
    return jsonify(fetch(sql, *params))


@bp.get("/lots/<lot_no>")
@needs_role("viewer")
def lot(lot_no):
    found = fetch(
        "SELECT LotNo, Article, Chamber, Pallets, BestBefore FROM stock.Lots WHERE LotNo = ?",
        lot_no,
        one=True,
    )
    if found is None:
        abort(404)
    moves = fetch(
        "SELECT MovedAt, FromBay, ToBay, Pallets FROM stock.Moves"
        " WHERE LotNo = ? ORDER BY MovedAt",
        lot_no,
    )
    return jsonify(lot=found, moves=moves)


@bp.post("/lots/<lot_no>/move")
@needs_role("planner")
def move(lot_no):
    body = request.get_json()
    bay = str(body.get("bay", ""))
    try:
        pallets = int(body["pallets"])
    except (KeyError, TypeError, ValueError):
        abort(400, "pallets has to be a number")
    if pallets < 1:
        abort(400, "pallets has to be positive")
    cur = db().cursor()
    cur.execute("SELECT Bay, Free FROM stock.Bays WITH (UPDLOCK) WHERE Bay = ?", bay)
    target = cur.fetchone()
    if target is None or target.Free < pallets:
        db().rollback()
        abort(409, "no room in that bay")
    cur.execute(
        "INSERT INTO stock.Moves (LotNo, ToBay, Pallets, MovedBy, MovedAt)"
        " VALUES (?, ?, ?, ?, SYSUTCDATETIME())",
        lot_no,
        bay,
        pallets,
        g.user.login,
    )
    cur.execute("UPDATE stock.Bays SET Free = Free - ? WHERE Bay = ?", pallets, bay)
    db().commit()
    log.info("moved %d pallets", pallets)
    return "", 204


@bp.get("/report/<name>.xlsx")
@needs_role("viewer")
def report(name):
    view = VIEWS.get(name)
    if view is None:
        abort(404)
    site = request.args.get("site", "")
    cur = db().cursor()
    cur.execute(f"SELECT * FROM {view} WHERE Site = ?", site)
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("report")
    sheet.append([d[0] for d in cur.description])
    for row in cur.fetchmany(MAX_ROWS):
        sheet.append(list(row))
    buf = io.BytesIO()
    book.save(buf)
    buf.seek(0)
    return send_file(buf, as_attachment=True, download_name=f"{view[4:]}.xlsx")


@bp.post("/inbound")
@needs_role("planner")
def inbound():
    """Delivery note as a spreadsheet: article, lot, pallets, best before."""
    upload = request.files["note"]
    suffix = pathlib.PurePath(upload.filename or "").suffix.lower()
    if suffix not in SHEETS:
        abort(415)
    target = os.path.join(current_app.config["NOTES_DIR"], uuid.uuid4().hex + suffix)
    upload.save(target)
    book = openpyxl.load_workbook(target, read_only=True, data_only=True)
    rows = []
    for article, lot_no, pallets, best in book.active.iter_rows(min_row=2, max_col=4, max_row=MAX_ROWS, values_only=True):
        if not article or not lot_no:
            continue
        rows.append((article, lot_no, pallets or 0, best))
    if not rows:
        abort(400, "the sheet is empty")
    cur = db().cursor()
    cur.fast_executemany = True
    cur.executemany(
        "INSERT INTO stock.Inbound (Article, LotNo, Pallets, BestBefore) VALUES (?, ?, ?, ?)", rows
    )
    db().commit()
    return jsonify(rows=len(rows))


@bp.get("/expiring.html")
@needs_role("viewer")
def expiring():
    days = request.args.get("days", 14, type=int)
    title = request.args.get("title", "Expiring lots")
    edge = date.today() + timedelta(days=max(0, min(days, 365)))
    by_chamber = defaultdict(list)
    for r in fetch("SELECT Chamber, LotNo, Article FROM stock.Lots WHERE BestBefore <= ? AND Pallets > 0", edge):
        by_chamber[r["Chamber"]].append(r)
    out = [Markup("<h1>{}</h1>").format(title)]
    for chamber in sorted(by_chamber):
        out.append(Markup("<h2>") + escape(chamber) + Markup("</h2><ul>"))
        for r in by_chamber[chamber]:
            out.append(Markup("<li>{} ({})</li>").format(r["LotNo"], r["Article"]))
        out.append(Markup("</ul>"))
    return str(Markup("\n").join(out))


@bp.get("/notes/<path:name>")
@needs_role("planner")
def delivery_note(name):
    base = pathlib.Path(current_app.config["NOTES_DIR"]).resolve()
    path = (base / name).resolve()
    if base not in path.parents or not path.is_file():
        abort(404)
    return send_file(path, as_attachment=True)


def record_temperatures(con, gateway, readings):
    """Called by the MQTT listener with what one gateway measured."""
    cur = con.cursor()
    cur.execute("SELECT SensorId, Serial FROM iot.Sensors WHERE Gateway = ?", (gateway,))
    ids = {row.Serial: row.SensorId for row in cur.fetchall()}
    stmt = "INSERT INTO iot.Readings (SensorId, Celsius, Note) VALUES (?, ?, ?)"
    stored = 0
    for serial, celsius, note in readings:
        if serial not in ids:
            continue
        cur.execute(stmt, (ids[serial], celsius, note))
        stored += 1
    con.commit()
    return stored


def rebuild_indexes(con, fragmentation=30):
    cur = con.cursor()
    for table in ("stock.Lots", "stock.Moves", "iot.Readings"):
        log.info("rebuilding %s", table)
        cur.execute(f"ALTER INDEX ALL ON {table} REBUILD")
    cur.execute("EXEC dbo.NoteMaintenance ?", int(fragmentation))
    con.commit()


def grant_reader(con, login):
    """Give a new analyst read access to the report schema."""
    cur = con.cursor()
    cur.execute("SELECT QUOTENAME(name) FROM sys.database_principals WHERE name = ?", login)
    row = cur.fetchone()
    if row is None:
        raise LookupError("no such principal")
    cur.execute("GRANT SELECT ON SCHEMA::rpt TO " + row[0])
    con.commit()
