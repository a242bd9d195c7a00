"""Job board: search, applications and saved alerts on MongoDB, served by Tornado."""
import datetime
import json
import logging
import re
import secrets

import pymongo
import tornado.escape
import tornado.web
from bson import ObjectId
from bson.errors import InvalidId
from passlib.hash import argon2
from pymongo.errors import DuplicateKeyError
from tornado.concurrent import run_on_executor
from concurrent.futures import ThreadPoolExecutor

log = logging.getLogger("jobs")

SORTS = {"newest": ("posted", -1), "salary": ("salary.max", -1), "title": ("title", 1)}
FACETS = ("city", "sector", "contract", "remote")
ALERT_FIELDS = {"city", "sector", "contract", "min_salary"}
OPERATORS = {"gt": "$gt", "lt": "$lt", "is": "$eq"}
COOKIE = "jobs_session"


def parse_id(text):
    try:
        return ObjectId(text)
    except (InvalidId, TypeError):
        raise tornado.web.HTTPError(404)


class Base(tornado.web.RequestHandler):
    executor = ThreadPoolExecutor(8)

    @property
    def db(self):
        return self.application.settings["db"]

    def get_current_user(self):
        raw = self.get_secure_cookie(COOKIE, max_age_days=14)
        if not raw:
            return None
        return self.db.users.find_one({"session": raw.decode()}, {"password": 0})

    def body_json(self):
        if len(self.request.body) > 64 * 1024:
            raise tornado.web.HTTPError(413)
        try:
            data = json.loads(self.request.body)
        except ValueError:
            raise tornado.web.HTTPError(400, reason="JSON expected")
        if not isinstance(data, dict):
            raise tornado.web.HTTPError(400, reason="object expected")
        return data

    def write_error(self, status_code, **kwargs):
        exc = kwargs.get("exc_info", (None, None, None))[1]
        message = "Something went wrong."
        if isinstance(exc, tornado.web.HTTPError) and exc.reason:
            message = exc.reason
        self.finish({"error": message, "status": status_code})


class Login(Base):
    def post(self):
        data = self.body_json()
        email, password = data.get("email"), data.get("password")
        if not isinstance(email, str) or not isinstance(password, str):
            raise tornado.web.HTTPError(400, reason="email and password wanted")
        user = self.db.users.find_one({"email": email, "active": True})
        if user is None or not argon2.verify(password, user["password"]):
            log.info("login refused for %r", email)
            raise tornado.web.HTTPError(403, reason="wrong email or password")
        token = secrets.token_urlsafe(32)
        self.db.users.update_one({"_id": user["_id"]}, {"$set": {"session": token}})
        self.set_secure_cookie(COOKIE, token, httponly=True, secure=True, samesite="Lax")
        self.write({"name": user["name"]})


class Search(Base):
    @run_on_executor
    def find(self, query, sort, skip, limit):
        field, order = SORTS.get(sort, SORTS["newest"])
        cur = self.db.jobs.find(query, {"internal": 0}).sort(field, order).skip(skip).limit(limit)
        return list(cur)

    async def get(self):
        query = {"published": True}
        words = self.get_query_argument("q", "").strip()[:80]
        if words:
            query["title"] = {"$regex": re.escape(words), "$options": "i"}
        for name in FACETS:
            values = self.get_query_arguments(name)
            if values:
                query[name] = {"$in": values[:20]}
        try:
            page = max(0, int(self.get_query_argument("page", "0")))
            size = min(max(1, int(self.get_query_argument("size", "20"))), 100)
        except ValueError:
            raise tornado.web.HTTPError(400, reason="page and size are numbers")
        jobs = await self.find(query, self.get_query_argument("sort", "newest"), page * size, size)
        for job in jobs:
            job["_id"] = str(job["_id"])
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.write(json.dumps({"jobs": jobs, "page": page}, default=str))


class AdvancedSearch(Base):
    """Accepts ``{"match": {...}, "compare": [[field, op, number], ...]}``."""

    def post(self):
        data = self.body_json()
        query = {"published": True}
        for key, value in dict(data.get("match") or {}).items():
            if key not in FACETS:
                raise tornado.web.HTTPError(400, reason="unknown field")
            query[key] = str(value)
        for field, op, number in data.get("compare") or []:
            if field not in ("salary.min", "salary.max", "hours"):
                raise tornado.web.HTTPError(400, reason="unknown number field")
            if op not in OPERATORS:
                raise tornado.web.HTTPError(400, reason="unknown operator")
            query.setdefault(field, {})[OPERATORS[op]] = float(number)
        found = self.db.jobs.find(query, {"title": 1, "city": 1, "salary": 1}).limit(200)
        self.write({"jobs": [dict(j, _id=str(j["_id"])) for j in found]})


class Applications(Base):
    @tornado.web.authenticated
    def get(self, app_id):
        doc = self.db.applications.find_one(
            {"_id": parse_id(app_id), "applicant": self.current_user["_id"]}
        )
        if doc is None:
            raise tornado.web.HTTPError(404)
        letter = tornado.escape.xhtml_escape(doc.get("letter", ""))
        self.write("<article><h2>Your letter</h2><p>" + letter.replace("\n", "<br>") + "</p></article>")

    @tornado.web.authenticated
    def put(self, app_id):
        data = self.body_json()
        allowed = {k: data[k] for k in ("letter", "phone", "start") if isinstance(data.get(k), str)}
        if not allowed:
            raise tornado.web.HTTPError(400, reason="nothing to change")
        res = self.db.applications.update_one(
            {"_id": parse_id(app_id), "applicant": self.current_user["_id"], "state": "draft"},
            {"$set": allowed},
        )
        if res.matched_count != 1:
            raise tornado.web.HTTPError(404)
        log.info("application %s changed: %s", app_id, sorted(allowed))
        self.set_status(204)


class Alerts(Base):
    @tornado.web.authenticated
    def post(self):
        data = self.body_json()
        unknown = set(data) - ALERT_FIELDS
        if unknown:
            raise tornado.web.HTTPError(400, reason="unknown alert field")
        alert = {k: int(v) if k == "min_salary" else str(v) for k, v in data.items()}
        alert.update(user=self.current_user["_id"], made=datetime.datetime.utcnow())
        try:
            self.db.alerts.insert_one(alert)
        except DuplicateKeyError:
            raise tornado.web.HTTPError(409, reason="you have this alert already")
        self.set_status(201)

    @tornado.web.authenticated
    def delete(self):
        name = self.body_json().get("name")
        if not isinstance(name, str):
            raise tornado.web.HTTPError(400, reason="name wanted")
        res = self.db.alerts.delete_many({"user": self.current_user["_id"], "name": name})
        self.write({"deleted": res.deleted_count})


class Unsubscribe(Base):
    def get(self):
        token = self.get_query_argument("t")
        found = self.db.alerts.find_one_and_delete({"token": token})
        where = self.get_query_argument("next", "/")
        if not re.match(r"/[\w-][\w/-]*\Z|/\Z", where):
            where = "/"
        if found is None:
            log.info("unknown unsubscribe token")
        self.redirect(where)


class CompanyAds(Base):
    @tornado.web.authenticated
    def post(self):
        data = self.body_json()
        status = data.get("status", "open")
        if status not in ("open", "closed", "draft"):
            raise tornado.web.HTTPError(400, reason="unknown status")
        found = self.db.jobs.find({"company": self.current_user["company"], "status": status})
        ads = [{"id": str(j["_id"]), "title": j["title"]} for j in found.limit(500)]
        self.write({"ads": ads, "status": status})


def salary_stats(db, city, min_ads=5):
    """Average pay per sector in a city; sectors with few ads are left out."""
    stages = [
        {"$match": {"published": True, "city": {"$eq": city}}},
        {"$group": {"_id": "$sector", "avg": {"$avg": "$salary.max"}, "ads": {"$sum": 1}}},
        {"$match": {"ads": {"$gte": int(min_ads)}}},
        {"$sort": {"avg": -1}},
    ]
    return [(r["_id"], round(r["avg"] or 0)) for r in db.jobs.aggregate(stages)]


def long_ads(db, minimum):
    length = int(minimum)
    return db.jobs.count_documents({"$where": "this.text && this.text.length > %d" % length})


def ensure_indexes(db):
    db.jobs.create_index([("published", 1), ("posted", pymongo.DESCENDING)])
    db.alerts.create_index([("user", 1), ("name", 1)], unique=True)
    db.users.create_index("email", unique=True)
