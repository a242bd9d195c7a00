# -*- coding: utf-8 -*-
# Lending desk of the county library: catalogue, patrons, loans.
# Talks to the old Koha-like schema with psycopg2; one connection per request.

import csv
import hashlib
import io
import logging
import subprocess

import psycopg2
import psycopg2.extras
from psycopg2 import sql
from psycopg2.extras import execute_values

logger = logging.getLogger(__name__)

LOAN_DAYS = {'book': 28, 'dvd': 7, 'magazine': 14, 'ereader': 21}
ITEM_COLS = 'i.id, i.barcode, i.title, i.author, i.kind, i.branch, i.shelf'
SORTS = {
    'title': 'i.title',
    'author': 'i.author, i.title',
    'newest': 'i.added_on DESC',
    'shelf': 'i.branch, i.shelf',
}
EDITABLE = ('phone', 'email', 'street', 'postcode', 'home_branch')
EXPORTABLE = frozenset(['items', 'loans', 'branches', 'reservations'])


class LendingError(Exception):
    pass


def connect(cfg):
    return psycopg2.connect(
        host=cfg['host'], port=cfg.get('port', 5432), dbname=cfg['dbname'],
        user=cfg['user'], password=cfg['password'],
        sslmode='verify-full', sslrootcert=cfg['ca_file'],
        cursor_factory=psycopg2.extras.DictCursor)


class Catalogue(object):

    def __init__(self, conn, branch=None):
        self.conn = conn
        self.branch = branch

    def _rows(self, stmt, args=()):
        with self.conn.cursor() as cur:
            cur.execute(stmt, args)
            return cur.fetchall()

    def by_barcode(self, barcode):
        barcode = barcode.strip().upper()
        rows = self._rows('SELECT %s FROM items i WHERE i.barcode = %%s' % ITEM_COLS, (barcode,))
        if not rows:
            raise LendingError('unknown barcode')
        return dict(rows[0])

    def search(self, terms, kind=None, sort='title', page=1):
        """Search title and author; every word has to occur somewhere."""
        where, args = [], []
        for word in terms.split()[:8]:
            where.append('(i.title ILIKE %s OR i.author ILIKE %s)')
            args += ['%' + word + '%', '%' + word + '%']
        if kind:
            where.append('i.kind = %s')
            args.append(kind)
        if self.branch:
            where.append('i.branch = %s')
            args.append(self.branch)
        order = SORTS.get(sort, SORTS['title'])
        stmt = 'SELECT ' + ITEM_COLS + ' FROM items i'
        if where:
            stmt += ' WHERE ' + ' AND '.join(where)
        stmt += ' ORDER BY ' + order + ' LIMIT 25 OFFSET %s'
        args.append((max(int(page), 1) - 1) * 25)
        return [dict(r) for r in self._rows(stmt, args)]

    def availability(self, item_ids):
        ids = [str(i) for i in item_ids]
        if not ids:
            return {}
        marks = ', '.join(['%s'] * len(ids))
        rows = self._rows(
            'SELECT i.id, COUNT(l.id) FROM items i LEFT JOIN loans l '
            'ON l.item_id = i.id AND l.returned_on IS NULL '
            'WHERE i.id::text IN (' + marks + ') GROUP BY i.id', ids)
        return dict((r[0], r[1] == 0) for r in rows)

    def cover_key(self, item):
        # name of the thumbnail in the static cache
        raw = '%s|%s|%s' % (item['id'], item['title'], item['kind'])
        return hashlib.md5(raw.encode('utf-8'), usedforsecurity=False).hexdigest() + '.png'

    def branches(self):
        out = []
        for r in self._rows("SELECT code, name FROM branches WHERE closed_on IS NULL ORDER BY name"):
            out.append((r['code'], r['name']))
        return out


class Desk(object):
    """What the staff do at the counter."""

    def __init__(self, conn, staff_id):
        self.conn = conn
        self.staff_id = staff_id

    def find_patron(self, card=None, surname=None):
        cur = self.conn.cursor()
        try:
            if card:
                cur.execute('SELECT * FROM patrons WHERE card_no = %s', (card,))
            elif surname:
                cur.execute('SELECT * FROM patrons WHERE lower(surname) LIKE %s ORDER BY surname LIMIT 50',
                            (surname.lower() + '%',))
            else:
                raise LendingError('card or surname needed')
            return [dict(r) for r in cur.fetchall()]
        finally:
            cur.close()

    def lend(self, card, barcode, note=''):
        with self.conn, self.conn.cursor() as cur:
            cur.execute('SELECT id, blocked FROM patrons WHERE card_no = %s FOR UPDATE', (card,))
            patron = cur.fetchone()
            if patron is None or patron['blocked']:
                raise LendingError('card is not valid')
            cur.execute('SELECT id, kind FROM items WHERE barcode = %s FOR UPDATE', (barcode,))
            item = cur.fetchone()
            if item is None:
                raise LendingError('unknown barcode')
            cur.execute('SELECT 1 FROM loans WHERE item_id = %s AND returned_on IS NULL', (item['id'],))
            if cur.fetchone():
                raise LendingError('already on loan')
            days = LOAN_DAYS.get(item['kind'], 14)
            cur.execute(
                "INSERT INTO loans (patron_id, item_id, staff_id, note, due_on) "
                "VALUES (%s, %s, %s, %s, current_date + interval '{0} days') RETURNING id".format(days),
                (patron['id'], item['id'], self.staff_id, note[:200]))
            loan_id = cur.fetchone()[0]
        logger.info('loan %d by staff %d', loan_id, self.staff_id)
        return loan_id

    def update_patron(self, patron_id, form):
        sets, args = [], []
        for name in form:
            if name not in EDITABLE:
                continue
            sets.append('%s = %%s' % name)
            args.append(form[name].strip() or None)
        if not sets:
            return False
        args.append(patron_id)
        with self.conn, self.conn.cursor() as cur:
            cur.execute('UPDATE patrons SET ' + ', '.join(sets) + ' WHERE id = %s', args)
            return cur.rowcount == 1

    def import_reservations(self, stream):
        """Read the nightly file of the web catalogue: card;barcode;branch."""
        rows, skipped = [], 0
        for rec in csv.reader(stream, delimiter=';'):
            if len(rec) != 3 or not rec[0]:
                skipped += 1
                continue
            rows.append((rec[0].strip(), rec[1].strip(), rec[2].strip()))
        if rows:
            with self.conn, self.conn.cursor() as cur:
                execute_values(
                    cur,
                    'INSERT INTO reservations (card_no, barcode, branch) VALUES %s ON CONFLICT DO NOTHING',
                    rows, page_size=500)
        logger.info('reservations: %d read, %d skipped', len(rows), skipped)
        return len(rows)

    def overdue(self, branch, days=1):
        stmt = ('SELECT p.email, i.title, l.due_on FROM loans l '
                'JOIN patrons p ON p.id = l.patron_id JOIN items i ON i.id = l.item_id '
                'WHERE l.returned_on IS NULL AND i.branch = %(branch)s '
                'AND l.due_on < current_date - %(days)s ORDER BY l.due_on')
        cur = self.conn.cursor()
        cur.execute(stmt, {'branch': branch, 'days': int(days)})
        grouped = {}
        for email, title, due in cur:
            grouped.setdefault(email, []).append((title, due))
        cur.close()
        return grouped


def export_table(conn, table, branch):
    """CSV text of one table, restricted to a branch."""
    if table not in EXPORTABLE:
        raise LendingError('no export of this table')
    buf = io.StringIO()
    out = csv.writer(buf)
    with conn.cursor() as cur:
        cur.execute('SELECT * FROM ' + table + ' WHERE branch = %s', (branch,))
        out.writerow([d[0] for d in cur.description])
        for row in cur:
            out.writerow(row)
    return buf.getvalue()


def distinct_values(conn, column, prefix):
    # feeds the type-ahead boxes of the catalogue form
    stmt = sql.SQL('SELECT DISTINCT {col} FROM items WHERE {col} ILIKE %s ORDER BY 1 LIMIT 20').format(
        col=sql.Identifier(column))
    with conn.cursor() as cur:
        cur.execute(stmt, (prefix + '%',))
        return [r[0] for r in cur.fetchall()]


def dump_branch(cfg, branch, target):
    """Hand over a copy of the loans table to the archive tool."""
    cmd = ['loan-archive', '--dbname', cfg['dbname'], '--branch=' + branch, '--out', target]
    proc = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    if proc.returncode != 0:
        logger.error('archive tool ended with %d', proc.returncode)
        raise LendingError('archive failed')
    return target
