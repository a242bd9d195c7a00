import asyncio
import contextlib
import hashlib
import hmac
import html
import ipaddress
import json
import logging
import os
import pickle
import random
import re
import secrets
import socket
import sqlite3
import time
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import httpx
import joblib
import numpy as np
import torch
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse

from ferment.config import CONF

log = logging.getLogger("ferment")

METRICS = {"loss", "accuracy", "f1", "auc", "latency"}
BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,80}")
MODEL_SUFFIXES = (".pt", ".safetensors", ".onnx")
UPLOAD_LIMIT = 4 << 30
DATASET_LIMIT = 1 << 30


def connect():
    db = sqlite3.connect(CONF.db_path, isolation_level=None)
    db.row_factory = sqlite3.Row
    return db


def shuffle_split(count, share=0.8, seed=17):
    order = list(range(count))
    random.Random(seed).shuffle(order)
    edge = int(count * share)
    return order[:edge], order[edge:]


def cache_copy(array, name):
    """Keep a prepared array for this process and its children."""
    blob = pickle.dumps(array)
    return pickle.loads(blob), hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


async def compare_runs(request: Request):
    """Table of the runs of one experiment, best first."""
    user = request.user
    experiment = request.path_params["experiment"]
    metric = request.query_params.get("metric", "loss")
    tag = request.query_params.get("tag")
    if metric not in METRICS:
        raise HTTPException(400, "metric is not recorded")
    with contextlib.closing(connect()) as db:
        owner = db.execute("SELECT workspace FROM experiment WHERE id = ?", (experiment,)).fetchone()
        if owner is None or owner["workspace"] not in user.workspaces:
            raise HTTPException(404)
        sql = f"SELECT id, name, author, {metric} AS score FROM run WHERE experiment = ?"
        args = [experiment]
        if tag:
            sql += " AND id IN (SELECT run FROM tag WHERE name = ?)"
            args.append(tag)
        rows = db.execute(sql + " ORDER BY score LIMIT 200", args).fetchall()
    if request.query_params.get("format") == "json":
        return JSONResponse([dict(row) for row in rows])
    cells = []
    for row in rows:
        score = "" if row["score"] is None else f"{row['score']:.4f}"
        cells.append(f"<tr><td>{row['id']}</td><td>{html.escape(row['name'])}</td><td>{score}</td></tr>")
    return HTMLResponse(f"<table><caption>{html.escape(metric)}</caption>{''.join(cells)}</table>")


async def upload_model(request: Request):
    """Store a new version of a model; the body is the file itself."""
    user = request.user
    model_id = int(request.path_params["model"])
    filename = request.headers.get("x-file-name", "")
    with contextlib.closing(connect()) as db:
        model = db.execute("SELECT owner, workspace FROM model WHERE id = ?", (model_id,)).fetchone()
    if model is None:
        raise HTTPException(404)
    if model["owner"] != user.id and model["workspace"] not in user.managed:
        raise HTTPException(403)
    suffix = os.path.splitext(filename)[1].lower()
    if suffix not in MODEL_SUFFIXES:
        raise HTTPException(415)
    version = secrets.token_hex(6)
    folder = Path(CONF.model_dir, str(model_id), version)
    folder.mkdir(parents=True, mode=0o750)
    target = folder / f"weights{suffix}"
    digest, size = hashlib.sha256(), 0
    with open(target, "xb") as out:
        async for block in request.stream():
            size += len(block)
            if size > UPLOAD_LIMIT:
                out.close()
                target.unlink()
                raise HTTPException(413)
            digest.update(block)
            out.write(block)
    with contextlib.closing(connect()) as db:
        db.execute(
            "INSERT INTO version (id, model, file, sha256, size, label, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (version, model_id, target.name, digest.hexdigest(), size, filename[:120], time.time()),
        )
    log.info("model %d: version %s, %d bytes, from %d", model_id, version, size, user.id)
    return JSONResponse({"version": version, "sha256": digest.hexdigest()}, status_code=201)


def load_weights(path: Path, device="cpu"):
    """State of a model from the file which a user has uploaded."""
    digest = hashlib.sha256()
    with open(path, "rb") as src:
        while block := src.read(1 << 20):
            digest.update(block)
    state = torch.load(path, map_location=device, weights_only=True)
    if not isinstance(state, dict):
        raise ValueError("file holds no state")
    state = state.get("state_dict", state)
    count = sum(t.numel() for t in state.values() if isinstance(t, torch.Tensor))
    log.info("%s (%s): %d tensors, %d values", path.name, digest.hexdigest()[:12], len(state), count)
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def load_features(path: Path):
    """Feature matrix of a data set version, in any of the formats clients send."""
    if path.suffix == ".npy":
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as packed:
            array = packed[packed.files[0]]
    elif path.suffix == ".json":
        array = np.asarray(json.loads(path.read_text("utf-8")), dtype="float32")
    else:
        raise ValueError(f"cannot read {path.suffix} files")
    if array.ndim != 2 or array.shape[0] == 0:
        raise ValueError("a matrix with rows is needed")
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        log.warning("%s: %d values are not finite", path.name, bad)
        array = np.nan_to_num(array)
    return array


async def clone_recipe(workspace: int, host: str, project: str, branch: str = "main") -> Path:
    """Fetch the training recipe of a run from one of the forges we know."""
    if host not in CONF.forges:
        raise ValueError("forge is not configured")
    if not BRANCH.fullmatch(project) or not BRANCH.fullmatch(branch) or ".." in project:
        raise ValueError("project or branch cannot be used")
    target = Path(CONF.work_dir, str(int(workspace)), secrets.token_hex(8))
    target.parent.mkdir(parents=True, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        "git", "clone", "--quiet", "--depth=1", "--branch", branch, "--", f"https://{host}/{project}.git", str(target),
        env={"PATH": os.environ["PATH"], "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "https"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, stderr = await asyncio.wait_for(process.communicate(), timeout=300)
    except asyncio.TimeoutError:
        process.kill()
        raise ValueError("clone took too long")
    if process.returncode != 0:
        log.warning("clone for %d: status %d, %r", workspace, process.returncode, stderr[-200:])
        raise ValueError("recipe could not be fetched")
    return target


async def import_dataset(url: str, folder: Path) -> Path:
    """Download a data set which a user points at."""
    address = httpx.URL(url)
    if address.scheme != "https" or not address.host:
        raise ValueError("an https address is needed")
    loop = asyncio.get_running_loop()
    for info in await loop.getaddrinfo(address.host, address.port or 443, type=socket.SOCK_STREAM):
        if not ipaddress.ip_address(info[4][0]).is_global:
            raise ValueError("address cannot be used")
    target = folder / f"{secrets.token_hex(8)}.raw"
    size = 0
    async with httpx.AsyncClient(follow_redirects=False, timeout=60) as client:
        async with client.stream("GET", address) as answer:
            answer.raise_for_status()
            with open(target, "xb") as out:
                async for block in answer.aiter_bytes():
                    size += len(block)
                    if size > DATASET_LIMIT:
                        raise ValueError("data set is too large")
                    out.write(block)
    log.info("data set of %d bytes imported", size)
    return target


async def artifact(request: Request):
    """One of the files a run has left behind."""
    user, run = request.user, int(request.path_params["run"])
    with contextlib.closing(connect()) as db:
        row = db.execute(
            "SELECT e.workspace FROM run r JOIN experiment e ON e.id = r.experiment WHERE r.id = ?", (run,)
        ).fetchone()
    if row is None or row["workspace"] not in user.workspaces:
        raise HTTPException(404)
    root = Path(CONF.artifact_dir, str(run)).resolve()
    path = (root / request.path_params["name"]).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        raise HTTPException(404)
    if path.suffix == ".link":
        there = path.read_text("utf-8").strip()
        if urlsplit(there).scheme != "https" or urlsplit(there).netloc not in CONF.artifact_hosts:
            raise HTTPException(404)
        return RedirectResponse(there)
    return FileResponse(path, filename=path.name, media_type="application/octet-stream")


def parquet_preview(path: Path, column: str, value: str, limit: int = 50):
    """First rows of a parquet file in which a column has a value."""
    con = duckdb.connect(":memory:")
    try:
        table = con.read_parquet(str(path))
        if column not in table.columns:
            raise ValueError("no such column")
        quoted = '"' + column.replace('"', '""') + '"'
        con.register("rows_", table)
        found = con.execute(f"SELECT * FROM rows_ WHERE CAST({quoted} AS VARCHAR) = ? LIMIT ?", [value, min(limit, 500)])
        names = [d[0] for d in found.description]
        return [dict(zip(names, row)) for row in found.fetchall()]
    finally:
        con.close()


def load_scaler(name: str):
    """Scaler that the nightly job has fitted."""
    base = os.path.realpath(CONF.scaler_dir)
    path = os.path.join(base, hashlib.sha256(name.encode()).hexdigest() + ".joblib")
    with open(path + ".sig") as src:
        given = src.read().strip()
    with open(path, "rb") as src:
        wanted = hmac.new(CONF.signing_key, src.read(), "sha256").hexdigest()
    if not hmac.compare_digest(given, wanted):
        raise ValueError("scaler was not written by the nightly job")
    return joblib.load(path)
