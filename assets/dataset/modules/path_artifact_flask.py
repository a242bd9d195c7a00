"""HTTP front of the artifact shelf used by the nightly build farm."""
import hashlib
import hmac
import json
import logging
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
from functools import wraps

from flask import Blueprint, Response, abort, current_app, g, jsonify, request, send_file, send_from_directory
from werkzeug.utils import safe_join, secure_filename

log = logging.getLogger(__name__)
bp = Blueprint("artifacts", __name__, url_prefix="/artifacts")

ALLOWED_SUFFIXES = {".whl", ".zip", ".log", ".xml", ".json"}
MAX_ARTIFACT = 256 * 1024 * 1024
BUILD_ID = re.compile(r"[a-z0-9]{6,40}")
TAIL_BYTES = 64 * 1024


def get_db():
    if "shelf_db" not in g:
        g.shelf_db = sqlite3.connect(current_app.config["SHELF_DB"])
        g.shelf_db.row_factory = sqlite3.Row
        g.shelf_db.execute("PRAGMA foreign_keys = ON")
    return g.shelf_db


def runner_required(view):
    """Let only registered build runners reach `view`."""

    @wraps(view)
    def inner(*args, **kwargs):
        sent = request.headers.get("X-Runner-Key", "")
        runner = request.headers.get("X-Runner-Name", "")
        known = current_app.config["RUNNER_KEYS"].get(runner)
        if known is None or not hmac.compare_digest(sent.encode(), known.encode()):
            log.warning("runner %r turned away", runner[:40])
            abort(401)
        g.runner = runner
        return view(*args, **kwargs)

    return inner


def build_dir(build_id, create=False):
    """Directory of one build; builds are spread over two levels."""
    if not BUILD_ID.fullmatch(build_id):
        abort(404)
    path = os.path.join(current_app.config["SHELF_ROOT"], build_id[:2], build_id)
    if create:
        os.makedirs(path, mode=0o750, exist_ok=True)
    elif not os.path.isdir(path):
        abort(404)
    return path


@bp.post("/<build_id>/files")
@runner_required
def upload(build_id):
    """Store one artifact of a build and note it in the catalogue.

    A matrix build is fed by several runners; the first of them owns it.
    """
    part = request.files.get("file")
    if part is None or not part.filename:
        return jsonify(error="no file sent"), 400

    name = secure_filename(part.filename)
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in ALLOWED_SUFFIXES:
        return jsonify(error="kind of file not kept here"), 415

    if request.content_length is None or request.content_length > MAX_ARTIFACT:
        return jsonify(error="too large"), 413

    target = os.path.join(build_dir(build_id, create=True), name)
    part.save(target)
    size = os.path.getsize(target)
    label = request.form.get("label", "")[:80]

    db = get_db()
    db.execute(
        "INSERT INTO artifact (build_id, name, size, runner, label) VALUES (?, ?, ?, ?, ?)",
        (build_id, name, size, g.runner, label),
    )
    db.commit()
    log.info("build %s: stored %s (%d bytes)", build_id, name, size)
    return jsonify(name=name, size=size), 201


@bp.get("/<build_id>/files/<path:name>")
def fetch(build_id, name):
    folder = build_dir(build_id)
    row = get_db().execute(
        "SELECT downloads FROM build WHERE id = ?", (build_id,)
    ).fetchone()
    if row is None:
        abort(404)
    get_db().execute("UPDATE build SET downloads = downloads + 1 WHERE id = ?", (build_id,))
    get_db().commit()
    return send_from_directory(folder, name, as_attachment=True)


@bp.get("/<build_id>/tail")
def tail_log(build_id):
    """Last part of a log file, for the status page."""
    wanted = request.args.get("log", "console.log")
    lines = min(request.args.get("lines", 200, type=int), 2000)
    path = safe_join(build_dir(build_id), "logs", wanted)
    if path is None or not os.path.isfile(path):
        abort(404)
    with open(path, "rb") as fh:
        fh.seek(0, os.SEEK_END)
        start = max(0, fh.tell() - TAIL_BYTES)
        fh.seek(start)
        data = fh.read(TAIL_BYTES)
    text = data.decode("utf-8", "replace").splitlines()[-max(lines, 1):]
    return Response("\n".join(text), mimetype="text/plain")


@bp.put("/<build_id>/coverage")
@runner_required
def put_coverage(build_id):
    """Replace the HTML coverage report by the one in the sent tarball."""
    folder = build_dir(build_id)
    final = os.path.join(folder, "coverage")
    staging = tempfile.mkdtemp(prefix="cov-", dir=folder)
    try:
        with tarfile.open(fileobj=request.stream, mode="r|gz") as tar:
            unpacked = 0
            for member in tar:
                unpacked += member.size
                if unpacked > MAX_ARTIFACT:
                    return jsonify(error="too large"), 413
                tar.extract(member, staging, filter="data")
        if not os.path.exists(os.path.join(staging, "index.html")):
            return jsonify(error="no index.html in the report"), 400
        if os.path.isdir(final):
            shutil.rmtree(final)
        os.rename(staging, final)
    except tarfile.TarError as exc:
        log.info("build %s: unusable coverage report: %s", build_id, exc)
        return jsonify(error="not a usable tarball"), 400
    finally:
        if os.path.isdir(staging):
            shutil.rmtree(staging, ignore_errors=True)
    return "", 204


@bp.delete("/<build_id>")
@runner_required
def drop_build(build_id):
    folder = build_dir(build_id)
    db = get_db()
    owner = db.execute("SELECT runner FROM build WHERE id = ?", (build_id,)).fetchone()
    if owner is None:
        abort(404)
    if owner["runner"] != g.runner:
        log.warning("%s asked to drop build %s of %s", g.runner, build_id, owner["runner"])
        abort(403)
    shutil.rmtree(folder)
    db.execute("DELETE FROM artifact WHERE build_id = ?", (build_id,))
    db.execute("DELETE FROM build WHERE id = ?", (build_id,))
    db.commit()
    return "", 204


@bp.get("/")
def list_builds():
    branch = request.args.get("branch")
    try:
        count = int(request.args.get("count", 50))
    except ValueError:
        abort(400)
    sql = "SELECT id, branch, finished FROM build"
    args = []
    if branch:
        sql += " WHERE branch = ?"
        args.append(branch)
    sql += " ORDER BY finished DESC LIMIT ?"
    args.append(max(1, min(count, 500)))
    rows = get_db().execute(sql, args).fetchall()
    return jsonify([dict(r) for r in rows])


@bp.get("/<build_id>/badge.svg")
def badge(build_id):
    """Pass/fail badge, cached by the proxies under a short tag."""
    folder = build_dir(build_id)
    with open(os.path.join(folder, "result.json"), encoding="utf-8") as fh:
        passed = bool(json.load(fh).get("passed"))
    picture = "passed.svg" if passed else "failed.svg"
    resp = send_file(os.path.join(current_app.root_path, "badges", picture), mimetype="image/svg+xml")
    tag = hashlib.md5(picture.encode(), usedforsecurity=False).hexdigest()
    resp.set_etag(tag)
    return resp


def expire_old(conn, root, keep_days=30):
    """Called by the scheduler; removes builds which nobody pinned."""
    gone = 0
    rows = conn.execute(
        "SELECT id FROM build WHERE pinned = 0 AND finished < datetime('now', ?)",
        ("-%d days" % int(keep_days),),
    ).fetchall()
    for (build_id,) in rows:
        folder = os.path.join(root, build_id[:2], build_id)
        shutil.rmtree(folder, ignore_errors=True)
        conn.execute("DELETE FROM build WHERE id = ?", (build_id,))
        gone += 1
    conn.commit()
    log.info("%d builds expired", gone)
    return gone
