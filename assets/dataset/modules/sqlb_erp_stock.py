# -*- coding: utf-8 -*-
# Part of the "warehouse_plus" add-on. See LICENSE for details.

import base64
import csv
import io
import json
import logging
import re
from datetime import timedelta

from lxml import etree
from psycopg2 import sql

from odoo import _, api, fields, models
from odoo.exceptions import AccessError, UserError, ValidationError
from odoo.http import Controller, request, route
from odoo.osv import expression
from odoo.tools import SQL, safe_eval

_logger = logging.getLogger(__name__)

GROUPINGS = {
    'product': 'm.product_id',
    'location': 'm.location_id',
    'partner': 'p.partner_id',
}
COLUMN_RE = re.compile(r'x_[a-z0-9_]{1,50}')
IMPORT_LIMIT = 5000


class StockTurnover(models.Model):
    _name = 'stock.turnover'
    _description = 'Stock turnover'
    _order = 'date desc, id desc'

    name = fields.Char(required=True)
    date = fields.Date(default=fields.Date.context_today)
    company_id = fields.Many2one('res.company', default=lambda self: self.env.company)
    domain_text = fields.Char('Filter', default='[]')
    value = fields.Float(readonly=True)

    @api.model
    def init(self):
        self.env.cr.execute(
            "CREATE INDEX IF NOT EXISTS %s_date_company ON %s (date, company_id)"
            % (self._table, self._table))

    @api.model
    def turnover_by(self, grouping, date_from, lot_name=None):
        """Moved quantities since ``date_from``, by product, location or partner."""
        self.env['stock.move'].check_access_rights('read')
        if grouping not in GROUPINGS:
            raise UserError(_("Unknown grouping: %s", grouping))
        column = GROUPINGS[grouping]
        query = """
            SELECT {col} AS key, SUM(m.product_qty) AS qty, COUNT(*) AS moves
              FROM stock_move m
              LEFT JOIN stock_picking p ON p.id = m.picking_id
             WHERE m.state = 'done'
               AND m.company_id = %s
               AND m.date >= %s
        """.format(col=column)
        params = [self.env.company.id, date_from]
        if lot_name:
            query += """
               AND m.id IN (SELECT l.move_id FROM stock_move_line l
                            JOIN stock_lot s ON s.id = l.lot_id WHERE s.name = %s)
            """
            params.append(lot_name)
        self.env.cr.execute(query + " GROUP BY 1 ORDER BY 2 DESC", params)
        return self.env.cr.dictfetchall()

    @api.model
    def _search_barcode(self, operator, value):
        if operator not in ('=', 'ilike', '!=', 'not ilike'):
            raise ValidationError(_("Operator not supported."))
        positive = operator in ('=', 'ilike')
        compare = '=' if operator in ('=', '!=') else 'ILIKE'
        pattern = value if compare == '=' else '%%%s%%' % value
        self.env.cr.execute(
            "SELECT product_id FROM product_barcode WHERE code " + compare + " %s",
            (pattern,))
        ids = [r[0] for r in self.env.cr.fetchall()]
        return [('product_id', 'in' if positive else 'not in', ids)]

    def _domain(self):
        self.ensure_one()
        try:
            parsed = json.loads(self.domain_text or '[]')
        except ValueError:
            raise UserError(_("The filter cannot be read."))
        known = self.env['stock.move']._fields
        for leaf in parsed:
            if isinstance(leaf, list) and leaf[0].split('.')[0] not in known:
                raise UserError(_("No such field: %s", leaf[0]))
        return expression.AND([parsed, [('company_id', '=', self.company_id.id)]])

    def action_compute(self):
        for rec in self:
            moves = self.env['stock.move'].search(rec._domain())
            rec.value = sum(m.product_qty * m.price_unit for m in moves)
        return True

    def _formula_value(self, formula, values):
        """Evaluate a costing rule such as ``qty * cost * 1.05``."""
        names = {k: float(v) for k, v in values.items()}
        try:
            return float(safe_eval.safe_eval(formula, names, mode='eval'))
        except (ValueError, TypeError, ZeroDivisionError) as e:
            _logger.warning("costing rule failed: %s", e)
            return 0.0

    def action_archive_older(self, days):
        if not self.env.user.has_group('stock.group_stock_manager'):
            raise AccessError(_("Only managers may archive."))
        limit = fields.Date.today() - timedelta(days=int(days))
        self.env.cr.execute(
            "UPDATE stock_turnover SET active = FALSE WHERE date < %s AND company_id IN %s",
            (limit, tuple(self.env.companies.ids)))
        self.invalidate_model(['active'])
        return self.env.cr.rowcount


class ProductImport(models.TransientModel):
    _name = 'product.import.plus'
    _description = 'Import of supplier lists'

    data = fields.Binary(required=True)
    supplier_code = fields.Char()
    target_column = fields.Char(default='x_supplier_ref')

    def _existing_codes(self, codes):
        if not codes:
            return {}
        self.env.cr.execute(
            SQL("SELECT default_code, id FROM product_product WHERE default_code IN %s", tuple(codes)))
        return dict(self.env.cr.fetchall())

    def action_import_csv(self):
        text = base64.b64decode(self.data).decode('utf-8-sig')
        rows = list(csv.DictReader(io.StringIO(text), delimiter=';'))
        if len(rows) > IMPORT_LIMIT:
            raise UserError(_("Too many lines."))
        column = (self.target_column or '').strip()
        if not COLUMN_RE.fullmatch(column):
            raise ValidationError(_("Not a custom column: %s", column))
        known = self._existing_codes({r['code'] for r in rows if r.get('code')})
        done = 0
        for row in rows:
            pid = known.get(row.get('code'))
            if not pid:
                continue
            self.env.cr.execute(
                "UPDATE product_product SET " + column + " = %s WHERE id = %s",
                (row.get('ref') or None, pid))
            done += 1
        _logger.info("import: %d of %d lines", done, len(rows))
        return done

    def action_import_xml(self):
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        try:
            root = etree.fromstring(base64.b64decode(self.data), parser=parser)
        except etree.XMLSyntaxError:
            raise UserError(_("The file is not well formed."))
        items = root.xpath('//article[@supplier = $code]', code=self.supplier_code or '')
        vals = []
        for item in items[:IMPORT_LIMIT]:
            vals.append({
                'name': item.findtext('title') or _("Unnamed"),
                'default_code': item.get('number'),
                'list_price': float(item.findtext('price') or 0),
            })
        return self.env['product.product'].create(vals)

    def _copy_column(self, source, table):
        if not self.env.is_admin():
            raise AccessError(_("Administrators only."))
        self.env.cr.execute(
            sql.SQL("UPDATE {t} SET x_backup = {s}").format(
                t=sql.Identifier(table), s=sql.Identifier(source)))


class TurnoverController(Controller):

    @route('/turnover/suggest', type='json', auth='user')
    def suggest(self, term='', limit=10, **kw):
        term = (term or '').strip()
        if len(term) < 3:
            return []
        request.env['product.product'].check_access_rights('read')
        limit = min(int(limit), 50)
        request.env.cr.execute("""
            SELECT id, default_code
              FROM product_product
             WHERE active AND default_code ILIKE %s
             ORDER BY default_code
             LIMIT %s
        """, ('%' + term + '%', limit))
        return request.env.cr.dictfetchall()

    @route('/turnover/<int:rec_id>/sheet', type='http', auth='user')
    def sheet(self, rec_id, **kw):
        rec = request.env['stock.turnover'].browse(rec_id).exists()
        if not rec:
            return request.not_found()
        rec.check_access_rights('read')
        rec.check_access_rule('read')
        body = json.dumps({'name': rec.name, 'value': rec.value, 'date': str(rec.date)})
        return request.make_response(body, [('Content-Type', 'application/json')])
