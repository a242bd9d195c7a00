# Reports of the harbour master's office: templates, source tables, finished PDFs.
#
# The WSGI part at the end is mounted below /reports by the office portal.

import csv
import datetime
import fcntl
import gzip
import hashlib
import json
import logging
import os
import pathlib
import re
import secrets
import shutil
import tempfile
import threading
import time
import uuid
from typing import Any, Dict, Iterable, Iterator, List, Optional
from urllib.parse import parse_qs, urlsplit

import jinja2
import requests
from defusedxml import ElementTree
from jinja2.sandbox import SandboxedEnvironment
from weasyprint import HTML

logger = logging.getLogger(__name__)

FEEDS = {
  'tides': 'https://data.pegel.example/v2/tides.xml',
  'berths': 'https://data.pegel.example/v2/berths.xml',
}
FEED_LIMIT = 30_000_000
MAX_AGE = datetime.timedelta(hours=6)
TEMPLATE_NAME = re.compile(r'[a-z0-9_]+(/[a-z0-9_]+)?\.html')


class TemplateStore(jinja2.BaseLoader):
  """Templates of the office first, then those that came with the program."""

  def __init__(self, *roots: str):
    self.roots = [pathlib.Path(root).resolve() for root in roots]

  def get_source(self, environment: jinja2.Environment, template: str):
    for root in self.roots:
      path = (root / template).resolve()
      if root not in path.parents:
        raise jinja2.TemplateNotFound(template)
      if path.is_file():
        mtime = path.stat().st_mtime
        source = path.read_text(encoding='utf-8')
        return source, str(path), lambda: path.stat().st_mtime == mtime
    raise jinja2.TemplateNotFound(template)

  def list_templates(self) -> List[str]:
    names = set()
    for root in self.roots:
      names.update(str(path.relative_to(root)) for path in root.rglob('*.html'))
    return sorted(names)

  def save(self, name: str, text: str) -> pathlib.Path:
    if not TEMPLATE_NAME.fullmatch(name):
      raise ValueError('unsuitable template name')
    path = self.roots[0] / name
    path.parent.mkdir(mode=0o755, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix='.draft-', dir=path.parent)
    with os.fdopen(handle, 'w', encoding='utf-8') as stream:
      stream.write(text)
    os.chmod(draft, 0o644)
    os.replace(draft, path)
    return path


class FeedCache:
  """Downloads of the data feeds, shared by all workers of a machine."""

  def __init__(self, folder: str, session: Optional[requests.Session] = None):
    self.folder = pathlib.Path(folder)
    self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    self.session = session or requests.Session()
    self.lock = threading.Lock()

  def _slot(self, url: str) -> pathlib.Path:
    return self.folder / (hashlib.sha256(url.encode('utf-8')).hexdigest() + '.gz')

  def _fresh(self, slot: pathlib.Path) -> bool:
    try:
      age = time.time() - slot.stat().st_mtime
    except FileNotFoundError:
      return False
    return age < MAX_AGE.total_seconds()

  def fetch(self, name: str) -> bytes:
    """Body of the feed `name`, at most six hours old."""
    if name not in FEEDS:
      raise KeyError(name)
    url = FEEDS[name]
    slot = self._slot(url)
    with self.lock:
      if not self._fresh(slot):
        body = bytearray()
        with self.session.get(url, timeout=20, stream=True) as response:
          response.raise_for_status()
          for chunk in response.iter_content(65536):
            body += chunk
            if len(body) > FEED_LIMIT:
              raise OSError('feed %s is larger than expected' % name)
        self._store(slot, bytes(body))
    with gzip.open(slot, 'rb') as stream:
      return stream.read(FEED_LIMIT)

  def _store(self, slot: pathlib.Path, body: bytes) -> None:
    draft = slot.with_name('.%s.part' % uuid.uuid4().hex)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(draft, flags, 0o600), 'wb') as raw:
      fcntl.flock(raw, fcntl.LOCK_EX)
      raw.write(gzip.compress(body))
    os.replace(draft, slot)

  def table(self, name: str) -> List[Dict[str, str]]:
    """The rows of a feed as dictionaries."""
    root = ElementTree.fromstring(self.fetch(name), forbid_dtd=True)
    rows = []
    for node in root.iter('row'):
      rows.append({child.tag: (child.text or '').strip() for child in node})
    logger.debug('%s: %d rows', name, len(rows))
    return rows

  def forget(self, older_than: float) -> int:
    gone = 0
    for slot in self.folder.glob('*.gz'):
      if time.time() - slot.stat().st_mtime > older_than:
        slot.unlink()
        gone += 1
    return gone


class Reports:

  def __init__(self, store: TemplateStore, cache: FeedCache, out: str):
    self.store = store
    self.cache = cache
    self.out = os.path.realpath(out)
    self.env = SandboxedEnvironment(loader=store, autoescape=True)

  def render(self, template: str, fields: Dict[str, Any]) -> str:
    now = datetime.datetime.now().strftime('%d.%m.%Y %H:%M')
    return self.env.get_template(template).render(now=now, **fields)

  def preview(self, text: str, fields: Dict[str, Any]) -> str:
    """What the template editor shows while an office clerk types."""
    try:
      template = self.env.from_string(text)
      return template.render(now='(time of printing)', fields=fields)
    except jinja2.TemplateError as error:
      logger.info('preview: %r', error)
      return 'The template has an error.'

  def print_out(self, template: str, title: str, fields: Dict[str, Any]) -> str:
    """Make a PDF and return the name under which it can be fetched."""
    stem = re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-') or 'report'
    name = '%s-%s.pdf' % (stem[:40], secrets.token_urlsafe(16))
    html = self.render(template, dict(fields, title=title))
    target = os.path.join(self.out, name)
    HTML(string=html, url_fetcher=no_fetch).write_pdf(target)
    logger.info('printed %s', name)
    return name

  def as_csv(self, feed: str, name: str) -> str:
    rows = self.cache.table(feed)
    target = os.path.realpath(os.path.join(self.out, name + '.csv'))
    if os.path.dirname(target) != self.out:
      raise ValueError('name of the table must be plain')
    with open(target, 'w', newline='', encoding='utf-8') as stream:
      writer = csv.DictWriter(stream, fieldnames=sorted(rows[0]) if rows else [])
      writer.writeheader()
      writer.writerows(rows)
    return target

  def discard(self, names: Iterable[str]) -> List[str]:
    gone = []
    for name in names:
      path = os.path.join(self.out, name)
      if os.path.realpath(path) != path or not path.startswith(self.out + os.sep):
        logger.warning('asked to discard %r', name)
        continue
      if os.path.isdir(path):
        shutil.rmtree(path)
      elif os.path.exists(path):
        os.remove(path)
      gone.append(name)
    return gone


def no_fetch(url: str, **_: Any) -> Dict[str, Any]:
  raise ValueError('reports have no outside parts: %s' % urlsplit(url).scheme)


class Application:
  """WSGI: /file/NAME hands out finished reports, /list names them."""

  def __init__(self, reports: Reports):
    self.reports = reports

  def __call__(self, environ: Dict[str, Any], start_response) -> Iterable[bytes]:
    path = environ.get('PATH_INFO', '')
    if environ['REQUEST_METHOD'] != 'GET':
      return self.fail(start_response, '405 Method Not Allowed')
    if not environ.get('REMOTE_USER'):
      return self.fail(start_response, '403 Forbidden')
    if path.startswith('/file/'):
      return self.send(path[len('/file/'):], environ, start_response)
    if path == '/list':
      wanted = parse_qs(environ.get('QUERY_STRING', '')).get('q', [''])[0]
      names = [n for n in sorted(os.listdir(self.reports.out)) if wanted in n]
      start_response('200 OK', [('Content-Type', 'application/json')])
      return [json.dumps(names[:200]).encode('utf-8')]
    return self.fail(start_response, '404 Not Found')

  def fail(self, start_response, status: str) -> List[bytes]:
    start_response(status, [('Content-Type', 'text/plain')])
    return [status.encode('ascii')]

  def send(self, name: str, environ: Dict[str, Any], start_response) -> Iterable[bytes]:
    base = pathlib.Path(self.reports.out)
    path = base.joinpath(name).resolve()
    if path.parent != base or path.suffix not in ('.pdf', '.csv'):
      return self.fail(start_response, '404 Not Found')
    try:
      stream = path.open('rb')
    except OSError:
      return self.fail(start_response, '404 Not Found')
    kind = 'application/pdf' if path.suffix == '.pdf' else 'text/csv'
    start_response('200 OK', [
      ('Content-Type', kind),
      ('Content-Length', str(os.fstat(stream.fileno()).st_size)),
    ])
    wrapper = environ.get('wsgi.file_wrapper')
    return wrapper(stream, 65536) if wrapper else pieces(stream)


def pieces(stream, size: int = 65536) -> Iterator[bytes]:
  with stream:
    while True:
      block = stream.read(size)
      if not block:
        return
      yield block
