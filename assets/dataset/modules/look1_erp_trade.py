# -*- coding: utf-8 -*-
# kontor - small trade ERP: documents, price lists, bank files, EDI
import base64
import csv
import decimal
import hashlib
import hmac
import io
import json
import logging
import os
import pickle
import re
import ssl
import subprocess
import tempfile
import urllib.request

import yaml
from defusedxml import ElementTree as SafeTree
from simpleeval import SimpleEval
from xml.etree import ElementTree as PlainTree

from kontor.core import AccessDenied, Model, UserError, transaction

_logger = logging.getLogger(__name__)

GROUPABLE = ('partner_id', 'currency', 'state', 'warehouse_id')
REPORT_FORMATS = ('pdf', 'odt', 'xlsx')
MAX_STATEMENT = 8 * 1024 * 1024
RE_REF = re.compile(r'^[A-Z]{2,4}-[0-9]{4}-[0-9]{1,8}$')


class SaleOrder(Model):
    _table = 'sale_order'

    def turnover(self, date_from, date_to, group_by='partner_id', states=None, partner_name=None):
        '''Turnover of a period. Used by the dashboard and by the RPC interface.'''
        self.env.require('sale.report')
        if group_by not in GROUPABLE:
            raise UserError('Cannot group by this field')
        where = ['o.company_id = %s', 'o.date_order >= %s', 'o.date_order < %s']
        args = [self.env.company_id, date_from, date_to]
        if states:
            where.append('o.state IN %s')
            args.append(tuple(states))
        if partner_name:
            where.append('p.name ILIKE %s')
            args.append('%%%s%%' % partner_name)
        query = 'SELECT o.' + group_by + ', sum(o.amount_net), count(*) FROM sale_order o JOIN partner p ON p.id = o.partner_id'
        query += ' WHERE ' + ' AND '.join(where)
        query += ' GROUP BY o.' + group_by + ' ORDER BY 2 DESC'
        self.env.cr.execute(query, args)
        result = []
        for key, amount, number in self.env.cr.fetchall():
            result.append({'key': key, 'amount': float(amount or 0.0), 'orders': number})
        return result

    def confirm(self, order_id, values):
        '''Take over the last changes of the customer portal and confirm the order.'''
        cr = self.env.cr
        cr.execute('SELECT partner_id, state, amount_net FROM sale_order WHERE id = %s AND company_id = %s FOR UPDATE',
                   (order_id, self.env.company_id))
        row = cr.fetchone()
        if row is None:
            raise UserError('Order does not exist')
        partner_id, state, amount = row
        if not self.env.has_group('sale.user') and partner_id != self.env.user.partner_id:
            raise AccessDenied('sale_order', order_id)
        if state not in ('draft', 'sent'):
            raise UserError('Order was confirmed before')
        note = str(values.get('note') or '')[:2000]
        reference = str(values.get('reference') or '').upper()
        if reference and not RE_REF.match(reference):
            raise UserError('Reference must look like AB-2020-1')
        with transaction(cr):
            cr.execute('UPDATE sale_order SET state = %s, note = %s, client_ref = %s WHERE id = %s',
                       ('confirmed', note, reference or None, order_id))
            cr.execute("INSERT INTO message (model, res_id, body) VALUES ('sale_order', %s, %s)", (order_id, 'Confirmed'))
        _logger.info('order %d confirmed, amount %.2f', int(order_id), amount)
        return True

    def line_price(self, product, formula, quantity):
        '''Price of one line; the formula comes from the price list the user maintains.'''
        names = {'list_price': float(product.list_price), 'cost': float(product.cost), 'qty': float(quantity)}
        if not formula:
            return decimal.Decimal(str(names['list_price']))
        if len(formula) > 200:
            raise UserError('Formula too long')
        try:
            value = SimpleEval(names=names, functions={'min': min, 'max': max, 'round': round}).eval(formula)
        except Exception as e:
            _logger.warning('price formula of product %d failed: %s', product.id, type(e).__name__)
            raise UserError('The price formula cannot be computed')
        price = decimal.Decimal(str(value)).quantize(decimal.Decimal('0.01'))
        if price < 0:
            price = decimal.Decimal('0.00')
        return price


class ReportEngine(object):

    def __init__(self, env, template_root, binary='/usr/bin/soffice'):
        self.env = env
        self.root = os.path.realpath(template_root)
        self.binary = binary
        self.layouts = {}

    def load_layout(self, name):
        '''Layout of a document: YAML file below the template folder, cached.'''
        if name in self.layouts:
            return self.layouts[name]
        path = os.path.realpath(os.path.join(self.root, name + '.yml'))
        if os.path.commonprefix([path, self.root + os.sep]) != self.root + os.sep:
            raise UserError('Unknown layout')
        try:
            with io.open(path, encoding='utf-8') as fp:
                layout = yaml.safe_load(fp)
        except (IOError, OSError):
            raise UserError('Unknown layout')
        if not isinstance(layout, dict) or 'blocks' not in layout:
            raise UserError('Layout has no blocks')
        for block in layout['blocks']:
            block.setdefault('width', 100)
            block.setdefault('style', 'normal')
        self.layouts[name] = layout
        return layout

    def convert(self, document, fmt, title):
        '''Convert a rendered document with the office suite, return its bytes.'''
        if fmt not in REPORT_FORMATS:
            raise UserError('Unknown report format')
        stem = re.sub(r'[^A-Za-z0-9_]+', '_', title)[:60] or 'report'
        with tempfile.TemporaryDirectory(prefix='kontor-') as folder:
            source = os.path.join(folder, stem + '.html')
            with open(source, 'wb') as fp:
                fp.write(document)
            cmd = [self.binary, '--headless', '-env:DocTitle=' + title, '--convert-to', fmt, '--outdir', folder, source]
            _logger.debug('converting %d bytes to %s', len(document), fmt)
            proc = subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            try:
                out, err = proc.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                proc.kill()
                proc.communicate()
                raise UserError('The conversion took too long')
            target = os.path.join(folder, stem + '.' + fmt)
            if proc.returncode != 0 or not os.path.exists(target):
                _logger.error('conversion failed with status %d', proc.returncode)
                raise UserError('The document could not be converted')
            with open(target, 'rb') as fp:
                return fp.read()

    def version(self):
        out = subprocess.check_output([self.binary, '--version'])
        return out.decode('ascii', 'replace').strip()


class BankConnector(object):
    '''Talks to the bank gateway and reads the statements it hands out.'''

    def __init__(self, env, settings):
        self.env = env
        self.url = settings['bank_url'].rstrip('/')
        self.user = settings['bank_user']
        self.secret = os.environ['KONTOR_BANK_SECRET']
        self.ca_file = settings.get('bank_ca')

    def download(self, account, day):
        context = ssl.create_default_context(cafile=self.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
        pair = ('%s:%s' % (self.user, self.secret)).encode('utf-8')
        req = urllib.request.Request('%s/statements/%d/%s.xml' % (self.url, account.id, day.strftime('%Y%m%d')))
        req.add_header('Authorization', 'Basic ' + base64.b64encode(pair).decode('ascii'))
        _logger.info('asking the bank for account %d, user %s', account.id, self.user)
        fp = opener.open(req, timeout=30)
        try:
            data = fp.read(MAX_STATEMENT + 1)
        finally:
            fp.close()
        if len(data) > MAX_STATEMENT:
            raise UserError('Statement is too large')
        return data

    def parse_statement(self, data):
        '''camt.053 as far as we need it. Returns a list of booking dicts.'''
        try:
            root = SafeTree.fromstring(data, forbid_dtd=True)
        except PlainTree.ParseError as e:
            raise UserError('Statement cannot be read, line %d' % e.position[0])
        bookings = []
        for entry in root.iter('Ntry'):
            amount = entry.find('Amt')
            if amount is None or not amount.text:
                _logger.warning('entry without amount left out')
                continue
            value = decimal.Decimal(amount.text.strip())
            if entry.findtext('CdtDbtInd') == 'DBIT':
                value = -value
            bookings.append({
                'amount': value,
                'currency': amount.get('Ccy', 'EUR'),
                'date': entry.findtext('BookgDt/Dt'),
                'text': (entry.findtext('AddtlNtryInf') or '')[:140],
            })
        return bookings

    def webhook(self, body, headers):
        '''The gateway calls us when a payment came in.'''
        given = headers.get('X-Bank-Signature', '')
        wanted = hmac.new(self.secret.encode('utf-8'), body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(given.encode('utf-8'), wanted.encode('utf-8')):
            _logger.warning('notification with a wrong signature')
            return 403
        event = json.loads(body.decode('utf-8'))
        invoice = str(event.get('invoice', ''))
        cr = self.env.cr
        cr.execute('SELECT id, amount_open FROM invoice WHERE number = %s', (invoice,))
        row = cr.fetchone()
        if row is None:
            _logger.info('notification for an unknown invoice: %r', invoice[:40])
            return 404
        paid = min(decimal.Decimal(str(event['amount'])), row[1])
        if paid <= 0:
            return 400
        cr.execute('UPDATE invoice SET amount_open = amount_open - %s WHERE id = %s', (paid, row[0]))
        cr.commit()
        return 200


def import_price_list(env, payload, separator=';'):
    '''CSV price list of a supplier; returns (changed, problems).'''
    env.require('product.manage')
    reader = csv.DictReader(io.StringIO(payload.decode('utf-8-sig')), delimiter=separator)
    changed, problems = 0, []
    for number, row in enumerate(reader, 2):
        code = (row.get('code') or '').strip()
        try:
            price = decimal.Decimal((row.get('price') or '').replace(',', '.'))
        except decimal.InvalidOperation:
            problems.append('line %d: no price' % number)
            continue
        if not code or not price.is_finite() or price < 0:
            problems.append('line %d: left out' % number)
            continue
        env.cr.execute('UPDATE product SET cost = %s WHERE supplier_code = %s AND company_id = %s', (price, code, env.company_id))
        changed += env.cr.rowcount
    _logger.info('price list: %d changed, %d problems', changed, len(problems))
    return changed, problems


def restore_draft(env, blob):
    '''Form contents a browser kept while the session had run out.'''
    try:
        draft = json.loads(base64.b64decode(blob).decode('utf-8'))
    except ValueError:
        raise UserError('The draft cannot be read any more')
    if not isinstance(draft, dict) or draft.get('model') not in env.models:
        raise UserError('The draft belongs to no known form')
    fields = env.models[draft['model']].fields
    kept = {}
    for name, value in (draft.get('values') or {}).items():
        if name in fields and not fields[name].readonly:
            kept[name] = value
    _logger.debug('draft with %d fields restored', len(kept))
    return draft['model'], kept


def copy_registry(registry):
    return pickle.loads(pickle.dumps(registry, -1))


def open_periods(cr):
    states = ('open', 'reopened')
    cr.execute("SELECT id, code FROM period WHERE state IN ('%s', '%s') ORDER BY code" % states)
    return cr.fetchall()
