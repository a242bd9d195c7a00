"""Recipe box: a small self-hosted service for a household and its guests."""

import asyncio
import hashlib
import hmac
import json
import os
import random
import re
import secrets
import string
import time
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from html import escape

DB_FILE = os.environ.get("RECIPES_DB", "recipes.db")
PHOTOS = Path(os.environ.get("RECIPES_PHOTOS", "photos")).resolve()
ROUNDS = 390_000
SESSION_SECONDS = 30 * 86400
COURSES = ["starter", "main", "dessert", "bread", "preserve"]
SORT = {"name": "r.title", "quick": "r.minutes", "new": "r.added DESC"}


@asynccontextmanager
async def database():
    async with aiosqlite.connect(DB_FILE) as con:
        con.row_factory = aiosqlite.Row
        await con.execute("PRAGMA foreign_keys = ON")
        yield con


async def select(sql, *args):
    async with database() as con:
        async with con.execute(sql, args) as cur:
            return await cur.fetchall()


async def current_user(request: Request):
    token = request.cookies.get("box", "")
    digest = hashlib.sha256(token.encode()).hexdigest()
    rows = await select(
        "SELECT u.id, u.name, u.household FROM users u JOIN sessions s ON s.user_id = u.id"
        " WHERE s.digest = ? AND s.expires > ?",
        digest, time.time(),
    )
    if not rows:
        raise HTTPException(401)
    return rows[0]


def hash_password(password, salt):
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ROUNDS)


async def login(request: Request):
    form = await request.json()
    name, password = str(form.get("name", "")), str(form.get("password", ""))
    rows = await select("SELECT id, salt, pwhash FROM users WHERE name = ?", name)
    salt = rows[0]["salt"] if rows else b"\0" * 16
    given = await asyncio.to_thread(hash_password, password, salt)
    if not rows or not hmac.compare_digest(given, rows[0]["pwhash"]):
        await asyncio.sleep(random.uniform(0.3, 0.6))
        raise HTTPException(403)
    token = secrets.token_urlsafe(32)
    async with database() as con:
        await con.execute(
            "INSERT INTO sessions (digest, user_id, expires) VALUES (?, ?, ?)",
            (hashlib.sha256(token.encode()).hexdigest(), rows[0]["id"], time.time() + SESSION_SECONDS),
        )
        await con.commit()
    resp = JSONResponse({"ok": True})
    resp.set_cookie("box", token, max_age=SESSION_SECONDS, httponly=True, secure=True, samesite="strict")
    return resp


async def invite(request: Request):
    """A short code that lets a guest join the household once."""
    user = await current_user(request)
    alphabet = string.ascii_uppercase + string.digits
    code = "".join(secrets.choice(alphabet) for _ in range(12))
    body = await request.json()
    async with database() as con:
        await con.execute(
            "INSERT INTO invites (code, household, note, expires) VALUES (?, ?, ?, ?)",
            (code, user["household"], str(body.get("note", ""))[:80], time.time() + 86400),
        )
        await con.commit()
    return JSONResponse({"code": code})


async def search(request: Request):
    user = await current_user(request)
    q = request.query_params
    sql = "SELECT r.id, r.title, r.minutes FROM recipes r WHERE r.household = ?"
    args = [user["household"]]
    if text := q.get("q"):
        sql += " AND r.title LIKE ?"
        args.append(f"%{text}%")
    if course := q.get("course"):
        sql += " AND r.course = ?"
        args.append(course)
    wanted = q.getlist("with")[:20]
    if wanted:
        marks = ", ".join("?" * len(wanted))
        sql += (
            f" AND r.id IN (SELECT recipe_id FROM ingredients WHERE name IN ({marks})"
            f" GROUP BY recipe_id HAVING COUNT(DISTINCT name) = {len(wanted)})"
        )
        args.extend(wanted)
    order = SORT.get(q.get("sort", "name"))
    if order is None:
        raise HTTPException(400, "unknown order")
    rows = await select(sql + f" ORDER BY {order} LIMIT 100", *args)
    return JSONResponse([dict(r) for r in rows])


async def load_recipe(recipe_id, household):
    rows = await select("SELECT * FROM recipes WHERE id = ? AND household = ?", recipe_id, household)
    if not rows:
        raise HTTPException(404)
    parts = await select(
        "SELECT name, amount, unit FROM ingredients WHERE recipe_id = ? ORDER BY position", rows[0]["id"]
    )
    return {**dict(rows[0]), "ingredients": [dict(p) for p in parts]}


async def show(request: Request):
    user = await current_user(request)
    recipe = await load_recipe(request.path_params["recipe_id"], user["household"])
    lines = [f"<h1>{escape(recipe['title'])}</h1>", "<ul>"]
    for part in recipe["ingredients"]:
        label = " ".join(str(v) for v in (part["amount"], part["unit"], part["name"]) if v)
        lines.append(f"<li>{escape(label)}</li>")
    lines.append("</ul>")
    for step in recipe["steps"].splitlines():
        lines.append(f"<p>{escape(step)}</p>")
    return HTMLResponse("\n".join(lines))


async def add(request: Request):
    user = await current_user(request)
    doc = await request.json()
    title = str(doc.get("title", "")).strip()
    course = doc.get("course")
    if not title or course not in COURSES:
        raise HTTPException(400, "title and course are needed")
    stmt = "INSERT INTO recipes (household, author, title, course, minutes, steps, added) VALUES (?, ?, ?, ?, ?, ?, ?)"
    async with database() as con:
        cur = await con.execute(
            stmt,
            (user["household"], user["id"], title, course, int(doc.get("minutes", 0)), str(doc.get("steps", "")), time.time()),
        )
        recipe_id = cur.lastrowid
        rows = [
            (recipe_id, n, str(i.get("name", "")), i.get("amount"), i.get("unit"))
            for n, i in enumerate(doc.get("ingredients", [])[:100])
        ]
        await con.executemany(
            "INSERT INTO ingredients (recipe_id, position, name, amount, unit) VALUES (?, ?, ?, ?, ?)", rows
        )
        await con.commit()
    return JSONResponse({"id": recipe_id}, status_code=201)


async def edit(request: Request):
    user = await current_user(request)
    doc = await request.json()
    allowed = {"title", "course", "minutes", "steps"}
    changes = {k: v for k, v in doc.items() if k in allowed}
    if not changes:
        return Response(status_code=204)
    sets = ", ".join(f"{k} = :{k}" for k in changes)
    async with database() as con:
        cur = await con.execute(
            f"UPDATE recipes SET {sets} WHERE id = :_id AND household = :_household",
            {**changes, "_id": request.path_params["recipe_id"], "_household": user["household"]},
        )
        await con.commit()
    if cur.rowcount == 0:
        raise HTTPException(404)
    return Response(status_code=204)


async def photo(request: Request):
    user = await current_user(request)
    root = PHOTOS / str(user["household"])
    path = (root / request.path_params["name"]).resolve()
    if not path.is_relative_to(root) or path.suffix not in (".jpg", ".webp"):
        raise HTTPException(404)
    return FileResponse(path)


async def rename_ingredient(request: Request):
    """Merge spellings: every `old` in the household's recipes becomes `new`."""
    user = await current_user(request)
    body = await request.json()
    old, new = body["old"], body["new"]
    pairs = [(str(new), str(o), user["household"]) for o in (old if isinstance(old, list) else [old])]
    async with database() as con:
        await con.executemany(
            "UPDATE ingredients SET name = ? WHERE name = ?"
            " AND recipe_id IN (SELECT id FROM recipes WHERE household = ?)",
            pairs,
        )
        await con.commit()
        return JSONResponse({"changed": con.total_changes})


async def tidy():
    async with database() as con:
        for table in ("sessions", "invites"):
            await con.execute(f"DELETE FROM {table} WHERE expires < ?", (time.time(),))
        await con.execute("DELETE FROM ingredients WHERE recipe_id NOT IN (SELECT id FROM recipes)")
        await con.commit()


async def backup(label: str, folder: Path) -> Path:
    """Copy of the database under a label given on the admin page."""
    if not re.fullmatch(r"[\w-]{1,40}", label):
        raise ValueError("label may hold letters, digits, _ and - only")
    target = folder / f"{label}.recipes.db"
    async with database() as con, aiosqlite.connect(target) as out:
        await con.backup(out)
        counts = await con.execute_fetchall("SELECT course, COUNT(*) FROM recipes GROUP BY course")
    (folder / f"{label}.recipes.json").write_text(json.dumps(dict(tuple(c) for c in counts)))
    return target


app = Starlette(routes=[
    Route("/login", login, methods=["POST"]),
    Route("/invite", invite, methods=["POST"]),
    Route("/recipes", search),
    Route("/recipes", add, methods=["POST"]),
    Route("/recipes/{recipe_id}", show),
    Route("/recipes/{recipe_id}", edit, methods=["PATCH"]),
    Route("/ingredients/rename", rename_ingredient, methods=["POST"]),
    Route("/photos/{name:path}", photo),
])
