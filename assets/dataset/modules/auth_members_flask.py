"""Member pages of the allotment association's web site."""
import hashlib
import hmac
import logging
import os
import secrets
from functools import wraps
from typing import Optional
from urllib.parse import urljoin, urlsplit

from flask import (
    Blueprint,
    abort,
    current_app,
    flash,
    g,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_wtf.csrf import CSRFProtect
from PIL import Image, UnidentifiedImageError
from werkzeug.security import check_password_hash, generate_password_hash

from .models import Member, Plot, WaterReading, db

log = logging.getLogger(__name__)
bp = Blueprint("members", __name__, url_prefix="/members")
csrf = CSRFProtect()
limiter = Limiter(key_func=get_remote_address)

EDITABLE = ("display_name", "phone", "newsletter", "locale")
PHOTO_FORMATS = {"JPEG": ".jpg", "PNG": ".png"}
MAX_PHOTO_PIXELS = 6000 * 4000
PER_PAGE_LIMIT = 100


def login_required(view):
    @wraps(view)
    def wrapper(*args, **kwargs):
        if g.get("member") is None:
            return redirect(url_for("members.login", next=request.full_path))
        return view(*args, **kwargs)

    return wrapper


def warden_required(view):
    @wraps(view)
    def wrapper(*args, **kwargs):
        member = g.get("member")
        if member is None:
            return redirect(url_for("members.login", next=request.full_path))
        if not member.is_warden:
            log.info("member %d asked for the warden page %s", member.id, request.endpoint)
            abort(403)
        return view(*args, **kwargs)

    return wrapper


@bp.before_app_request
def load_member() -> None:
    """Put the member of this session into ``g.member``."""
    g.member = None
    member_id = session.get("member_id")
    if member_id is None:
        return
    member = db.session.get(Member, member_id)
    if member is None or member.left_on is not None:
        session.clear()
        return
    g.member = member


def local_target(candidate: Optional[str], fallback: str) -> str:
    """Return ``candidate`` if it leads to a page of this site, else ``fallback``."""
    if not candidate:
        return fallback
    candidate = candidate.replace("\\", "/").strip()
    here = urlsplit(request.host_url)
    there = urlsplit(urljoin(request.host_url, candidate))
    if there.scheme not in ("http", "https") or there.netloc != here.netloc:
        return fallback
    return there.geturl()


@bp.route("/login", methods=["GET", "POST"])
@limiter.limit("10 per minute", methods=["POST"])
def login():
    if request.method == "GET":
        return render_template("members/login.html")

    email = request.form.get("email", "").strip().lower()
    password = request.form.get("password", "")
    member = Member.query.filter_by(email=email).first()
    stored = member.password_hash if member else current_app.config["DUMMY_HASH"]
    matches = check_password_hash(stored, password)
    if member is None or not matches:
        log.info("login failed from %s", request.remote_addr)
        flash("E-mail address or password is wrong.")
        return render_template("members/login.html"), 401

    session.clear()
    session["member_id"] = member.id
    session["login_nonce"] = secrets.token_urlsafe(12)
    log.info("member %d logged in", member.id)

    response = redirect(local_target(request.args.get("next"), url_for("members.home")))
    if request.form.get("remember"):
        token = secrets.token_urlsafe(32)
        member.remember_hash = hashlib.sha256(token.encode()).hexdigest()
        db.session.commit()
        response.set_cookie(
            "remember",
            token,
            max_age=30 * 86400,
            secure=True,
            httponly=True,
            samesite="Lax",
        )
    return response


@bp.post("/logout")
def logout():
    member = g.member
    session.clear()
    if member is not None:
        member.remember_hash = None
        db.session.commit()
    response = redirect(url_for("members.login"))
    response.delete_cookie("remember")
    return response


@bp.get("/")
@login_required
def home():
    plots = Plot.query.filter_by(tenant_id=g.member.id).order_by(Plot.number).all()
    etag = hashlib.md5(
        ",".join(f"{p.id}:{p.version}" for p in plots).encode(), usedforsecurity=False
    ).hexdigest()
    response = make_response(render_template("members/home.html", plots=plots))
    response.set_etag(etag)
    return response.make_conditional(request)


@bp.post("/profile")
@login_required
def update_profile():
    payload = request.get_json(silent=True)
    if not isinstance(payload, dict):
        return jsonify(error="expected an object"), 400

    changed = []
    for key, value in payload.items():
        if key not in EDITABLE:
            return jsonify(error="unknown field"), 400
        if not isinstance(value, (str, bool)):
            return jsonify(error="text or yes/no expected"), 400
        if getattr(g.member, key) != value:
            setattr(g.member, key, value)
            changed.append(key)

    if changed:
        db.session.commit()
        log.info("member %d changed %s", g.member.id, ", ".join(changed))
    return jsonify(changed=changed)


@bp.post("/password")
@limiter.limit("5 per minute")
@login_required
def change_password():
    old = request.form.get("old", "")
    new = request.form.get("new", "")
    if not check_password_hash(g.member.password_hash, old):
        flash("The old password is wrong.")
        return redirect(url_for("members.profile"))
    if len(new) < 12:
        flash("Please choose at least twelve characters.")
        return redirect(url_for("members.profile"))

    g.member.password_hash = generate_password_hash(new, method="scrypt")
    g.member.remember_hash = None
    db.session.commit()
    log.info("password of member %d changed", g.member.id)
    flash("Password changed.")
    return redirect(url_for("members.home"))


@bp.post("/photo")
@login_required
def upload_photo():
    upload = request.files.get("photo")
    if upload is None or not upload.filename:
        abort(400)
    try:
        image = Image.open(upload.stream)
    except UnidentifiedImageError:
        flash("This is not a picture we can read.")
        return redirect(url_for("members.profile"))

    if image.format not in PHOTO_FORMATS:
        flash("Please send a JPEG or PNG file.")
        return redirect(url_for("members.profile"))
    if image.width * image.height > MAX_PHOTO_PIXELS:
        flash("The picture is too large.")
        return redirect(url_for("members.profile"))

    name = secrets.token_hex(16) + PHOTO_FORMATS[image.format]
    image.thumbnail((640, 640))
    image.save(os.path.join(current_app.config["PHOTO_DIR"], name))
    g.member.photo = name
    db.session.commit()
    return redirect(url_for("members.profile"))


@bp.get("/plots/<int:plot_id>/readings")
@login_required
def readings(plot_id: int):
    plot = Plot.query.filter_by(id=plot_id, tenant_id=g.member.id).first_or_404()
    per_page = request.args.get("per_page", 20, type=int)
    per_page = max(1, min(per_page, PER_PAGE_LIMIT))
    page = max(1, request.args.get("page", 1, type=int))
    rows = (
        WaterReading.query.filter_by(plot_id=plot.id)
        .order_by(WaterReading.taken_on.desc())
        .limit(per_page)
        .offset((page - 1) * per_page)
        .all()
    )
    return jsonify(plot=plot.number, readings=[row.as_dict() for row in rows])


@bp.post("/plots/<int:plot_id>/release")
@warden_required
def release_plot(plot_id: int):
    plot = db.get_or_404(Plot, plot_id)
    if plot.tenant_id is None:
        return jsonify(error="plot is free already"), 409
    former, plot.tenant_id = plot.tenant_id, None
    db.session.commit()
    log.info("warden %d released plot %d of member %d", g.member.id, plot.id, former)
    return jsonify(released=plot.number)


@bp.post("/meter")
@csrf.exempt
def meter_push():
    """Called by the water meter gateway every night."""
    body = request.get_data(cache=True)
    expected = hmac.new(current_app.config["METER_KEY"], body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), request.headers.get("X-Signature", "").encode()):
        abort(403)
    try:
        entries = request.get_json(force=True)["entries"]
        for entry in entries:
            db.session.add(WaterReading(plot_id=int(entry["plot"]), litres=int(entry["litres"])))
        db.session.commit()
    except (KeyError, TypeError, ValueError):
        db.session.rollback()
        log.exception("meter push could not be stored")
        return jsonify(error="malformed push"), 400
    return jsonify(stored=len(entries))
