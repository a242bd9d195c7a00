"""Tenant administration for the booking platform: one schema per tenant.

Every command of ``tenantctl`` ends up in a method of :class:`TenantAdmin`.
"""
from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any, Iterable, Iterator, Sequence

import click
import psycopg
import yaml
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

logger = logging.getLogger("tenantctl")

SLUG_RE = re.compile(r"[a-z][a-z0-9]{2,24}")
PLANS = ("trial", "basic", "pro")
AUDIT_ORDER = {"time": "at", "actor": "actor, at", "action": "action, at"}
COUNTED = ("bookings", "customers", "rooms")


class TenantError(click.ClickException):
    pass


class TenantAdmin:
    def __init__(self, dsn: str, migrations: Path, actor: str) -> None:
        self.dsn = dsn
        self.migrations = migrations
        self.actor = actor

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.dsn, row_factory=dict_row, connect_timeout=10)

    def _note(self, conn: psycopg.Connection, action: str, slug: str, **detail: Any) -> None:
        conn.execute(
            "INSERT INTO control.audit (actor, action, tenant, detail, at) VALUES (%s, %s, %s, %s, now())",
            (self.actor, action, slug, Jsonb(detail)),
        )

    def create(self, slug: str, title: str, plan: str, contact: str) -> int:
        """Register a tenant and make its schema; returns the tenant id."""
        if not SLUG_RE.fullmatch(slug):
            raise TenantError("The slug may hold 3 to 25 lower case letters and digits.")
        if plan not in PLANS:
            raise TenantError("There is no such plan.")
        with self.connect() as conn:
            row = conn.execute(
                """
                INSERT INTO control.tenants (slug, title, plan, contact)
                VALUES (%s, %s, %s, %s)
                ON CONFLICT (slug) DO NOTHING
                RETURNING id
                """,
                (slug, title, plan, contact),
            ).fetchone()
            if row is None:
                raise TenantError("The slug is taken.")
            conn.execute(f"CREATE SCHEMA tenant_{slug}")
            self._note(conn, "create", slug, plan=plan)
        self.migrate(slug)
        return row["id"]

    def pending(self, conn: psycopg.Connection, slug: str) -> list[Path]:
        done = {
            r["name"]: r["checksum"]
            for r in conn.execute(
                "SELECT name, checksum FROM control.migrations WHERE tenant = %(tenant)s",
                {"tenant": slug},
            )
        }
        todo = []
        for path in sorted(self.migrations.glob("[0-9]*.sql")):
            checksum = hashlib.sha256(path.read_bytes()).hexdigest()
            if path.name not in done:
                todo.append(path)
            elif done[path.name] != checksum:
                raise TenantError(f"{path.name} was changed after it had been applied.")
        return todo

    def migrate(self, slug: str) -> int:
        applied = 0
        with self.connect() as conn:
            conn.execute("SELECT pg_advisory_lock(hashtext(%s))", (slug,))
            for path in self.pending(conn, slug):
                with conn.transaction():
                    conn.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier("tenant_" + slug)))
                    conn.execute(path.read_text())
                    conn.execute(
                        "INSERT INTO control.migrations (tenant, name, checksum) VALUES (%s, %s, %s)",
                        (slug, path.name, hashlib.sha256(path.read_bytes()).hexdigest()),
                    )
                applied += 1
        logger.info("%d migrations applied", applied)
        return applied

    def find(self, words: Sequence[str], plan: str | None = None, since: datetime | None = None) -> list[dict]:
        query = "SELECT id, slug, title, plan, created FROM control.tenants"
        where: list[str] = []
        params: dict[str, Any] = {}
        for n, word in enumerate(words):
            where.append(f"(slug ILIKE %(w{n})s OR title ILIKE %(w{n})s)")
            params[f"w{n}"] = f"%{word}%"
        if plan:
            where.append("plan = %(plan)s")
            params["plan"] = plan
        if since:
            where.append("created >= %(since)s")
            params["since"] = since
        if where:
            query += " WHERE " + " AND ".join(where)
        with self.connect() as conn:
            return conn.execute(query + " ORDER BY slug LIMIT 200", params).fetchall()

    def usage(self, slugs: Iterable[str]) -> Iterator[tuple[str, dict[str, int]]]:
        with self.connect() as conn:
            known = conn.execute("SELECT slug FROM control.tenants WHERE slug = ANY(%s)", (list(slugs),)).fetchall()
            for row in known:
                counts = {}
                for table in COUNTED:
                    stmt = sql.SQL("SELECT count(*) AS n FROM {}.{}").format(
                        sql.Identifier("tenant_" + row["slug"]), sql.Identifier(table)
                    )
                    counts[table] = conn.execute(stmt).fetchone()["n"]
                yield row["slug"], counts

    def audit(self, slug: str, order: str = "time", limit: int = 50) -> list[dict]:
        if order not in AUDIT_ORDER:
            raise TenantError("The log cannot be ordered that way.")
        query = f"SELECT at, actor, action, detail FROM control.audit WHERE tenant = %s ORDER BY {AUDIT_ORDER[order]} LIMIT %s"
        with self.connect() as conn:
            return conn.execute(query, (slug, min(limit, 500))).fetchall()

    def rotate_key(self, slug: str) -> str:
        """New API key of a tenant; only its digest stays with us."""
        key = "bk_" + secrets.token_hex(24)
        digest = hashlib.sha256(key.encode()).hexdigest()
        with self.connect() as conn:
            cur = conn.execute(
                "UPDATE control.tenants SET key_digest = %s, key_changed = now() WHERE slug = %s", (digest, slug)
            )
            if cur.rowcount != 1:
                raise TenantError("There is no such tenant.")
            self._note(conn, "rotate-key", slug)
        logger.info("new api key, digest starts with %s", digest[:6])
        return key

    def apply_settings(self, slug: str, source: Path) -> int:
        """Take over a YAML file of settings (a flat mapping)."""
        with source.open(encoding="utf-8") as fh:
            wanted = yaml.safe_load(fh)
        if not isinstance(wanted, dict):
            raise TenantError("The file does not hold a mapping.")
        rows = [(slug, str(name), Jsonb(value)) for name, value in wanted.items()]
        with self.connect() as conn, conn.cursor() as cur:
            cur.executemany(
                "INSERT INTO control.settings (tenant, name, value) VALUES (%s, %s, %s)"
                " ON CONFLICT (tenant, name) DO UPDATE SET value = excluded.value",
                rows,
            )
            self._note(conn, "settings", slug, count=len(rows))
        return len(rows)

    def import_customers(self, slug: str, lines: Iterable[str]) -> int:
        schema = sql.Identifier("tenant_" + slug)
        n = 0
        with self.connect() as conn, conn.cursor() as cur:
            with cur.copy(sql.SQL("COPY {}.customers (email, name) FROM STDIN").format(schema)) as copy:
                for line in lines:
                    email, _, name = line.rstrip("\n").partition("\t")
                    if "@" not in email:
                        continue
                    copy.write_row((email.lower(), name or None))
                    n += 1
            self._note(conn, "import", slug, customers=n)
        return n

    def drop(self, slug: str) -> None:
        with self.connect() as conn:
            row = conn.execute("DELETE FROM control.tenants WHERE slug = %s RETURNING id", (slug,)).fetchone()
            if row is None:
                raise TenantError("There is no such tenant.")
            conn.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(f"tenant_{slug}")))
            self._note(conn, "drop", slug, id=row["id"])

    def dump(self, slug: str, folder: Path) -> Path:
        if not SLUG_RE.fullmatch(slug):
            raise TenantError("There is no such tenant.")
        target = folder / f"{slug}-{datetime.now():%Y%m%d}.dump"
        info = conninfo_to_dict(self.dsn)
        env = {**os.environ, "PGPASSWORD": str(info.pop("password", ""))}
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as out:
            subprocess.run(
                ["pg_dump", "--format=custom", f"--schema=tenant_{slug}", make_conninfo(**info)],
                stdout=out, env=env, check=True, timeout=3600,
            )
        return target


@click.group()
@click.option("--dsn", envvar="TENANTCTL_DSN", required=True)
@click.option("--migrations", type=click.Path(path_type=Path), default=Path("migrations"))
@click.pass_context
def cli(ctx: click.Context, dsn: str, migrations: Path) -> None:
    logging.basicConfig(level=logging.INFO)
    ctx.obj = TenantAdmin(dsn, migrations, os.environ.get("USER", "unknown"))


@cli.command()
@click.argument("words", nargs=-1)
@click.option("--plan", type=click.Choice(PLANS))
@click.pass_obj
def find(admin: TenantAdmin, words: tuple[str, ...], plan: str | None) -> None:
    for row in admin.find(words, plan):
        click.echo(f"{row['slug']:<26} {row['plan']:<6} {row['title']}")
