"""Persistent job queue on top of a single SQLite file.

Used by the render workers and by the ``rq-admin`` page.  One writer process,
many readers; every method opens a short transaction of its own.
"""
from __future__ import annotations

import json
import logging
import os
import random
import sqlite3
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence

log = logging.getLogger("renderfarm.queue")

STATES = ("queued", "running", "done", "failed", "cancelled")
SORTABLE = {"id", "priority", "created_at", "finished_at", "attempts"}
MAX_PAGE = 200
JOBS = "farm_jobs"

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS {JOBS} (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    queue       TEXT NOT NULL,
    state       TEXT NOT NULL DEFAULT 'queued',
    owner       TEXT NOT NULL,
    payload     TEXT NOT NULL,
    priority    INTEGER NOT NULL DEFAULT 0,
    attempts    INTEGER NOT NULL DEFAULT 0,
    run_after   REAL NOT NULL DEFAULT 0,
    created_at  REAL NOT NULL,
    finished_at REAL,
    worker      TEXT,
    error       TEXT
);
CREATE INDEX IF NOT EXISTS ix_{JOBS}_pick ON {JOBS} (queue, state, priority);
"""


@dataclass
class Job:
    id: int
    queue: str
    state: str
    owner: str
    payload: Dict[str, Any] = field(default_factory=dict)
    attempts: int = 0


class QueueError(Exception):
    pass


class JobQueue:
    def __init__(self, path: Path, spool: Path, busy_timeout: float = 5.0) -> None:
        self.path = path
        self.spool = spool
        self.busy_timeout = busy_timeout
        with self._tx() as db:
            db.executescript(SCHEMA)

    @contextmanager
    def _tx(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(str(self.path), timeout=self.busy_timeout)
        db.row_factory = sqlite3.Row
        try:
            yield db
            db.commit()
        except Exception:
            db.rollback()
            raise
        finally:
            db.close()

    def enqueue(
        self,
        queue: str,
        owner: str,
        payload: Dict[str, Any],
        priority: int = 0,
        delay: float = 0.0,
    ) -> int:
        body = json.dumps(payload, sort_keys=True)
        if len(body) > 64_000:
            raise QueueError("payload too large")
        now = time.time()
        with self._tx() as db:
            cur = db.execute(
                f"INSERT INTO {JOBS} (queue, owner, payload, priority, run_after, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (queue, owner, body, priority, now + delay, now),
            )
            job_id = cur.lastrowid
        log.info("job %d queued, %d bytes", job_id, len(body))
        return job_id

    def claim(self, queue: str, worker: str) -> Optional[Job]:
        """Take the next runnable job of a queue, or None."""
        with self._tx() as db:
            db.execute("BEGIN IMMEDIATE")
            row = db.execute(
                f"SELECT * FROM {JOBS} WHERE state = 'queued' AND queue = ? AND run_after <= ?"
                " ORDER BY priority DESC, id LIMIT 1",
                (queue, time.time()),
            ).fetchone()
            if row is None:
                return None
            db.execute(
                f"UPDATE {JOBS} SET state = 'running', worker = ?, attempts = attempts + 1 WHERE id = ?",
                (worker, row["id"]),
            )
        return Job(
            id=row["id"],
            queue=row["queue"],
            state="running",
            owner=row["owner"],
            payload=json.loads(row["payload"]),
            attempts=row["attempts"] + 1,
        )

    def fail(self, job_id: int, message: str, retry: bool = True) -> None:
        """Put a job back with some delay, or give it up after five attempts."""
        with self._tx() as db:
            row = db.execute(f"SELECT attempts FROM {JOBS} WHERE id = ?", (job_id,)).fetchone()
            if row is None:
                raise QueueError("no such job")
            attempts = row["attempts"]
            text = message.strip()[:500]
            if retry and attempts < 5:
                pause = 2 ** attempts + random.uniform(0, 1.5)
                stmt = f"UPDATE {JOBS} SET state = 'queued', error = ?, run_after = ? WHERE id = ?"
                db.execute(stmt, (text, time.time() + pause, job_id))
            else:
                db.execute(
                    f"UPDATE {JOBS} SET state = 'failed', error = ?, finished_at = ? WHERE id = ?",
                    (text, time.time(), job_id),
                )

    def search(
        self,
        owner: Optional[str] = None,
        states: Sequence[str] = (),
        text: Optional[str] = None,
        order_by: str = "id",
        descending: bool = False,
        limit: int = 50,
    ) -> List[sqlite3.Row]:
        if order_by not in SORTABLE:
            raise QueueError("cannot sort by that column")
        where: List[str] = ["1 = 1"]
        args: List[Any] = []
        if owner:
            where.append("owner = ?")
            args.append(owner)
        if states:
            marks = ", ".join("?" for _ in states)
            where.append(f"state IN ({marks})")
            args.extend(states)
        if text:
            needle = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            where.append("payload LIKE ? ESCAPE '\\'")
            args.append(f"%{needle}%")
        direction = "DESC" if descending else "ASC"
        sql = f"SELECT * FROM {JOBS} WHERE {' AND '.join(where)} ORDER BY {order_by} {direction} LIMIT ?"
        args.append(max(1, min(limit, MAX_PAGE)))
        with self._tx() as db:
            return db.execute(sql, args).fetchall()

    def cancel(self, ids: Iterable[int], owner: str) -> int:
        """Cancel the given jobs of one owner; returns how many were still queued."""
        wanted = list(ids)
        if not wanted:
            return 0
        done = 0
        with self._tx() as db:
            for start in range(0, len(wanted), 500):
                chunk = wanted[start:start + 500]
                marks = ",".join(["?"] * len(chunk))
                cur = db.execute(
                    f"UPDATE {JOBS} SET state = 'cancelled' WHERE state = 'queued'"
                    f" AND owner = ? AND id IN ({marks})",
                    [owner, *chunk],
                )
                done += cur.rowcount
        return done

    def requeue_many(self, pairs: Iterable[Dict[str, str]]) -> int:
        """Reset failed jobs listed in an uploaded sheet (columns id, queue)."""
        rows = []
        for line in pairs:
            if not line.get("id"):
                continue
            rows.append((line["queue"].strip(), line["id"].strip()))
        with self._tx() as db:
            before = db.total_changes
            db.executemany(
                f"UPDATE {JOBS} SET state = 'queued', attempts = 0, queue = ? WHERE id = ? AND state = 'failed'",
                rows,
            )
            changed = db.total_changes - before
        log.info("requeued %d of %d rows", changed, len(rows))
        return changed

    def counts(self) -> Dict[str, int]:
        out = dict.fromkeys(STATES, 0)
        with self._tx() as db:
            for row in db.execute(f"SELECT state, COUNT(*) AS n FROM {JOBS} GROUP BY state"):
                out[row["state"]] = row["n"]
        return out

    def artifact(self, owner: str, name: str) -> bytes:
        """Bytes of a rendered file that belongs to a finished job of the owner."""
        with self._tx() as db:
            row = db.execute(
                f"SELECT id FROM {JOBS} WHERE owner = ? AND state = 'done'"
                " AND json_extract(payload, '$.output') = ?",
                (owner, name),
            ).fetchone()
        if row is None:
            raise QueueError("no such artifact")
        base = os.path.realpath(self.spool)
        full = os.path.realpath(os.path.join(base, name))
        if os.path.commonpath([base, full]) != base:
            raise QueueError("no such artifact")
        with open(full, "rb") as fh:
            return fh.read()

    def purge(self, older_than_days: int, state: str = "done") -> int:
        if state not in ("done", "failed", "cancelled"):
            raise QueueError("only finished jobs can be purged")
        edge = time.time() - older_than_days * 86400
        with self._tx() as db:
            cur = db.execute(f"DELETE FROM {JOBS} WHERE state = ? AND created_at < ?", (state, edge))
        log.info("purged %d jobs older than %d days", cur.rowcount, older_than_days)
        return cur.rowcount

    def compact(self) -> None:
        db = sqlite3.connect(str(self.path), isolation_level=None)
        try:
            db.execute("VACUUM")
            for pragma in ("optimize", "wal_checkpoint(TRUNCATE)"):
                db.execute(f"PRAGMA {pragma}")
        finally:
            db.close()
