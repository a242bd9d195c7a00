"""Club ledger: CherryPy pages, mailed statements and the yearly report."""

from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formataddr
from html import escape
from pathlib import Path
from xml.sax.saxutils import escape as xml_escape
import json
import os
import re
import secrets
import smtplib
import ssl
import tempfile
import textwrap

import cherrypy
import jinja2
import nbformat
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup

HERE = Path(__file__).resolve().parent
ENTRY_KINDS = ('dues', 'gift', 'rent', 'travel')
ONE_ADDRESS = re.compile(r'[^@\s,;<>"]+@[^@\s,;<>"]+\.[A-Za-z]{2,}')
ROW = '<tr class="{kind}"><td>{day}</td><td>{text}</td><td>{amount}</td></tr>'


def make_env():
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(HERE / 'templates')),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    env.filters['money'] = money
    env.filters['paragraphs'] = paragraphs
    return env


def money(value):
    return '{:,.2f}'.format(Decimal(value)).replace(',', '\u2009')


def paragraphs(text):
    """Template filter: an empty line starts a paragraph, a single one a break."""
    blocks = [b for b in re.split(r'\n{2,}', text.strip()) if b]
    result = Markup('')
    for block in blocks:
        lines = [Markup.escape(line) for line in block.splitlines()]
        result += Markup('<p>') + Markup('<br>').join(lines) + Markup('</p>\n')
    return result


def require_treasurer():
    if cherrypy.session.get('role') != 'treasurer':
        raise cherrypy.HTTPError(403)


cherrypy.tools.treasurer = cherrypy.Tool('before_handler', require_treasurer)


class Mailer:
    def __init__(self, env, host, sender):
        self.env = env
        self.host = host
        self.sender = sender

    def statement(self, member, entries):
        """The monthly statement as a message with a text and an HTML part."""
        total = sum((e['amount'] for e in entries), Decimal(0))
        msg = EmailMessage(policy=SMTP)
        msg['From'] = formataddr(('Club ledger', self.sender))
        msg['To'] = member['email']
        msg['Subject'] = 'Your statement, %s' % date.today().strftime('%B %Y')
        msg.set_content('Dear %s,\n\nyour balance is %s.\n' % (member['name'], money(total)))
        rows = ''.join(
            ROW.format(
                kind=e['kind'] if e['kind'] in ENTRY_KINDS else 'other',
                day=e['day'].isoformat(),
                text=escape(e['text']),
                amount=money(e['amount']),
            )
            for e in entries
        )
        greeting = '<p>Dear %s,</p>' % escape(member['name'])
        msg.add_alternative(
            greeting + '<table>' + rows + '</table><p><b>%s</b></p>' % money(total), subtype='html'
        )
        return msg

    def reminder(self, member, custom):
        # The treasurer writes the text of the reminder in the settings page.
        sandbox = SandboxedEnvironment(autoescape=True)
        body = sandbox.from_string(custom).render(name=member['name'], due=money(member['due']))
        msg = EmailMessage(policy=SMTP)
        msg['From'] = self.sender
        msg['To'] = member['email']
        msg['Subject'] = 'A reminder from the club'
        msg.set_content(body, subtype='html')
        return msg

    def raw_notice(self, to, name, text):
        """Some members' gateways choke on MIME, they get plain old RFC 822."""
        if not ONE_ADDRESS.fullmatch(to):
            raise ValueError('not one plain address')
        name = re.sub(r'[\r\n"\\]', ' ', name)
        head = 'From: %s\r\nTo: "%s" <%s>\r\nSubject: Notice\r\n\r\n' % (self.sender, name, to)
        body = '\r\n'.join(textwrap.wrap(text, 70))
        self.deliver(to, (head + body + '\r\n').encode('utf-8'))

    def deliver(self, to, data):
        with smtplib.SMTP(self.host, 587, timeout=20) as smtp:
            smtp.starttls(context=ssl.create_default_context())
            smtp.login(self.sender, os.environ['LEDGER_MAIL_PASSWORD'])
            smtp.sendmail(self.sender, [to], data)


class NotebookReport:
    """The yearly analysis is a notebook; members see a static page of it."""

    def __init__(self, source):
        self.source = Path(source)

    def cell(self, cell):
        if cell.cell_type == 'markdown':
            first, _, rest = cell.source.partition('\n')
            if first.startswith('# '):
                return '<h2>%s</h2><p>%s</p>' % (escape(first[2:]), escape(rest))
            return '<p>%s</p>' % escape(cell.source)
        if cell.cell_type != 'code':
            return ''
        return '<pre class="in">%s</pre>%s' % (
            escape(cell.source),
            ''.join(self.output(out) for out in cell.outputs),
        )

    def output(self, out):
        if out.output_type == 'stream':
            return '<pre>%s</pre>' % escape(out.text)
        if out.output_type == 'error':
            return '<pre class="error">%s: %s</pre>' % (escape(out.ename), escape(out.evalue))
        data = out.get('data', {})
        if 'image/png' in data:
            pixels = re.sub(r'[^A-Za-z0-9+/=]', '', data['image/png'])
            return '<img alt="" src="data:image/png;base64,%s">' % pixels
        return '<pre>%s</pre>' % escape(data.get('text/plain', ''))

    def build(self, target):
        book = nbformat.read(str(self.source), as_version=4)
        html = ['<!doctype html><meta charset="utf-8">']
        html.extend(self.cell(cell) for cell in book.cells)
        fd, name = tempfile.mkstemp(suffix='.html', dir=str(Path(target).parent))
        with os.fdopen(fd, 'w', encoding='utf-8') as out:
            out.write('\n'.join(html))
        os.replace(name, target)


class Ledger:
    def __init__(self, store, env, mailer):
        self.store = store
        self.env = env
        self.mailer = mailer

    @cherrypy.expose
    @cherrypy.tools.treasurer()
    def index(self, month=None):
        day = date.today().replace(day=1)
        if month and re.fullmatch(r'\d{4}-(0[1-9]|1[0-2])', month):
            day = date(int(month[:4]), int(month[5:]), 1)
        entries = self.store.entries(day, day + timedelta(days=31))
        return self.env.get_template('month.html').render(day=day, entries=entries)

    @cherrypy.expose
    @cherrypy.tools.treasurer()
    def find(self, q=''):
        found = self.store.search(q[:100])
        cherrypy.log('search %r: %d entries' % (q, len(found)), 'LEDGER')
        rows = [
            ROW.format(kind='hit', day=e['day'].isoformat(), text=escape(e['text']), amount=money(e['amount']))
            for e in found
        ]
        if not rows:
            return '<p>No entry for <kbd>' + escape(q) + '</kbd>.</p>'
        return '<h1>' + escape(q) + '</h1><table>' + ''.join(rows) + '</table>'

    @cherrypy.expose
    @cherrypy.tools.treasurer()
    def add(self, day, kind, amount, text, token=''):
        if cherrypy.request.method != 'POST':
            raise cherrypy.HTTPError(405)
        if not secrets.compare_digest(token.encode(), cherrypy.session['token'].encode()):
            raise cherrypy.HTTPError(403)
        try:
            value = Decimal(amount.replace(',', '.')).quantize(Decimal('0.01'))
            when = date(*(int(part) for part in day.split('-')))
        except (InvalidOperation, ValueError, TypeError):
            raise cherrypy.HTTPError(400, 'Date or amount cannot be read.')
        if kind not in ENTRY_KINDS:
            raise cherrypy.HTTPError(400, 'Unknown kind of entry.')
        self.store.add(when, kind, value, text.strip()[:300])
        raise cherrypy.HTTPRedirect('/?month=%d-%02d' % (when.year, when.month))

    @cherrypy.expose
    @cherrypy.tools.treasurer()
    def statement_xml(self, member_id, label='statement'):
        entries = self.store.for_member(int(member_id))
        label = re.sub(r'[^A-Za-z0-9_-]', '', label)[:40] or 'statement'
        headers = cherrypy.response.headers
        headers['Content-Type'] = 'application/xml; charset=utf-8'
        headers['Content-Disposition'] = 'attachment; filename="%s.xml"' % label
        lines = ['<?xml version="1.0" encoding="utf-8"?>', '<statement>']
        for e in entries:
            lines.append('  <entry day="%s" amount="%s">%s</entry>' % (
                e['day'].isoformat(), e['amount'], xml_escape(e['text'])))
        lines.append('</statement>')
        return '\n'.join(lines).encode('utf-8')

    @cherrypy.expose
    def totals(self, year):
        """Public sums per kind, for the chart on the club's page."""
        sums = self.store.sums(int(year))
        cherrypy.response.headers['Content-Type'] = 'application/json'
        return json.dumps({kind: str(sums.get(kind, 0)) for kind in ENTRY_KINDS}).encode('ascii')


def error_page(status, message, traceback, version):
    title = escape(status)
    return '<html><title>%s</title><h1>%s</h1><p>%s</p></html>' % (title, title, escape(message))
