#!/usr/bin/env python3
"""parts-import: load supplier price lists into the spare part shop.

usage:
    parts-import load SUPPLIER FILE
    parts-import diff SUPPLIER --since 2023-01-01
    parts-import retire SUPPLIER SKU [SKU ...]
    parts-import stage TABLE FILE
"""
import argparse
import configparser
import csv
import decimal
import gzip
import os
import re
import shutil
import sys
import tempfile
import zipfile
from xml.sax.saxutils import escape

import pymysql
import pymysql.cursors
import requests
from defusedxml import ElementTree as ET

STAGING = {
    "prices": ("sku", "net", "currency"),
    "stock": ("sku", "depot", "quantity"),
    "texts": ("sku", "lang", "title", "body"),
}
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
DOWNLOAD_LIMIT = 80 * 1024 * 1024


class ImportFailed(Exception):
    pass


def settings(path):
    cp = configparser.ConfigParser()
    if not cp.read(path):
        raise ImportFailed("no configuration at %s" % path)
    return cp["database"]


def open_db(conf):
    return pymysql.connect(
        host=conf["host"],
        user=conf["user"],
        password=os.environ["PARTS_DB_PASSWORD"],
        database=conf.get("schema", "parts"),
        charset="utf8mb4",
        autocommit=False,
        cursorclass=pymysql.cursors.DictCursor,
    )


def run(db, statement, params=None):
    """Execute one statement and give back the number of rows it touched."""
    with db.cursor() as c:
        return c.execute(statement, params)


def supplier_id(db, code):
    with db.cursor() as c:
        c.execute("SELECT id FROM supplier WHERE code = %s AND active = 1", (code,))
        row = c.fetchone()
    if row is None:
        raise ImportFailed("unknown supplier")
    return row["id"]


def read_list(path):
    """Yield (sku, net, currency, title) from a csv file, plain or gzipped."""
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as fh:
        for n, rec in enumerate(csv.DictReader(fh, delimiter=";"), 2):
            try:
                net = decimal.Decimal(rec["net"].replace(",", "."))
            except (KeyError, decimal.InvalidOperation):
                print("line %d: no usable price" % n, file=sys.stderr)
                continue
            yield rec["sku"].strip(), net, rec.get("currency") or "EUR", rec.get("title", "").strip()


def load(db, supplier, path):
    sid = supplier_id(db, supplier)
    fresh = changed = 0
    for sku, net, currency, title in read_list(path):
        with db.cursor() as c:
            c.execute("SELECT id, net FROM part WHERE supplier_id = %s AND sku = %s", (sid, sku))
            old = c.fetchone()
            if old is None:
                c.execute(
                    "INSERT INTO part (supplier_id, sku, net, currency, title) VALUES (%s, %s, %s, %s, %s)",
                    (sid, sku, net, currency, title[:160]),
                )
                fresh += 1
            elif old["net"] != net:
                c.execute(
                    "UPDATE part SET net = %s, currency = %s, changed = NOW() WHERE id = %s",
                    (net, currency, old["id"]),
                )
                changed += 1
    db.commit()
    print("%s new, %s changed" % (fresh, changed))
    return fresh + changed


def retire(db, supplier, skus):
    """Take parts out of the shop; the rows stay for old invoices."""
    sid = supplier_id(db, supplier)
    total = 0
    for i in range(0, len(skus), 200):
        part = skus[i : i + 200]
        marks = ",".join(["%s"] * len(part))
        stmt = f"UPDATE part SET retired = NOW() WHERE supplier_id = %s AND sku IN ({marks})"
        total += run(db, stmt, [sid] + part)
    db.commit()
    return total


def diff(db, supplier, since, column="net", needle=None):
    if column not in ("net", "currency", "title"):
        raise ImportFailed("cannot compare %r" % column)
    clauses = ["s.code = %s", "h.at >= %s"]
    values = [supplier, since]
    if needle is not None:
        clauses.append("p.title LIKE %s")
        values.append("%" + needle + "%")
    with db.cursor() as c:
        c.execute(
            f"SELECT p.sku, h.{column} AS was, p.{column} AS now FROM part p"
            " JOIN supplier s ON s.id = p.supplier_id"
            " JOIN part_history h ON h.part_id = p.id"
            f" WHERE {' AND '.join(clauses)} ORDER BY p.sku",
            values,
        )
        for row in c:
            if row["was"] != row["now"]:
                yield row


def stage(db, table, path):
    """Bulk copy of a file into one of the staging tables, whose columns it has to name."""
    if table not in STAGING:
        raise ImportFailed("no staging table of that name")
    cols = STAGING[table]
    marks = ", ".join(["%s"] * len(cols))
    sql = "INSERT INTO stage_{} ({}) VALUES ({})".format(table, ", ".join(cols), marks)
    batch = []
    with db.cursor() as c, open(path, encoding="utf-8", newline="") as fh:
        c.execute("TRUNCATE stage_{}".format(table))
        for rec in csv.DictReader(fh):
            batch.append([rec.get(k) for k in cols])
            if len(batch) >= 1000:
                c.executemany(sql, batch)
                batch.clear()
        if batch:
            c.executemany(sql, batch)
    db.commit()


def add_attribute(db, name, kind):
    """New column on the attribute table, as asked for in a supplier's header line."""
    types = {"text": "VARCHAR(200)", "number": "DECIMAL(12,3)", "flag": "TINYINT(1)"}
    name = name.strip().lower()
    if not NAME.fullmatch(name):
        raise ImportFailed("not a usable column name")
    if kind not in types:
        raise ImportFailed("not a usable column type")
    run(db, "ALTER TABLE part_attribute ADD COLUMN `%s` %s NULL" % (name, types[kind]))
    run(db, "INSERT INTO attribute_log (name, kind) VALUES (%s, %s)", (name, kind))
    db.commit()


def unpack(archive, target):
    """Unpack the pictures a supplier sends along."""
    target = os.path.realpath(target)
    names = []
    with zipfile.ZipFile(archive) as zf:
        for info in zf.infolist():
            if info.is_dir() or info.file_size > 10_000_000:
                continue
            dest = os.path.realpath(os.path.join(target, info.filename))
            if not dest.startswith(target + os.sep):
                raise ImportFailed("odd path in archive")
            os.makedirs(os.path.dirname(dest), exist_ok=True)
            with zf.open(info) as src, open(dest, "wb") as out:
                shutil.copyfileobj(src, out)
            names.append(info.filename)
    return names


def fetch(conf):
    """Download the price list named in the configuration to a temporary file and return its path."""
    got = 0
    auth = {"Authorization": "Bearer " + conf["feed_token"]}
    with requests.get(conf["feed_url"], headers=auth, stream=True, timeout=60) as r:
        r.raise_for_status()
        fd, path = tempfile.mkstemp(suffix=".csv", prefix="parts-")
        with os.fdopen(fd, "wb") as out:
            for chunk in r.iter_content(65536):
                got += len(chunk)
                if got > DOWNLOAD_LIMIT:
                    os.unlink(path)
                    raise ImportFailed("file is too large")
                out.write(chunk)
    return path


def load_bmecat(db, supplier, path):
    """Titles from a BMEcat catalogue."""
    sid = supplier_id(db, supplier)
    tree = ET.parse(path)
    n = 0
    for art in tree.iter("ARTICLE"):
        sku = art.findtext("SUPPLIER_AID", "")
        title = art.findtext("ARTICLE_DETAILS/DESCRIPTION_SHORT", "")
        if not sku or not title:
            continue
        n += run(
            db,
            "UPDATE part SET title = %s WHERE supplier_id = %s AND sku = %s",
            (title[:160], sid, sku),
        )
    db.commit()
    return n


def as_xml(rows):
    out = ["<changes>"]
    for r in rows:
        out.append("  <part><sku>%s</sku><was>%s</was><now>%s</now></part>"
                   % (escape(r["sku"]), escape(str(r["was"])), escape(str(r["now"]))))
    out.append("</changes>")
    return "\n".join(out)


def vacuum(db):
    for t in STAGING:
        run(db, f"OPTIMIZE TABLE stage_{t}")
    run(db, "DELETE FROM part_history WHERE at < NOW() - INTERVAL 3 YEAR")
    db.commit()


def main(argv=None):
    ap = argparse.ArgumentParser(prog="parts-import")
    ap.add_argument("--config", default="/etc/parts/import.ini")
    sub = ap.add_subparsers(dest="cmd", required=True)
    for cmd, names in (("load", ("supplier", "file")), ("stage", ("table", "file"))):
        p = sub.add_parser(cmd)
        for n in names:
            p.add_argument(n)
    p = sub.add_parser("diff")
    p.add_argument("supplier")
    p.add_argument("--since", default="2000-01-01")
    p = sub.add_parser("retire")
    p.add_argument("supplier")
    p.add_argument("skus", nargs="+")
    a = ap.parse_args(argv)
    db = open_db(settings(a.config))
    try:
        if a.cmd == "load":
            load(db, a.supplier, a.file)
        elif a.cmd == "stage":
            stage(db, a.table, a.file)
        elif a.cmd == "retire":
            print(retire(db, a.supplier, a.skus))
        else:
            print(as_xml(diff(db, a.supplier, a.since)))
    except ImportFailed as e:
        ap.exit(1, "%s\n" % e)
    finally:
        db.close()


if __name__ == "__main__":
    main()
