"""Handlers of the class-room notebook server.

Every pupil has a folder of notebooks; teachers hand out work sheets and
collect the answers as archives.
"""
import base64
import functools
import io
import json
import logging
import os
import pathlib
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
import zipfile
from urllib.parse import quote

import nbformat
import tornado.escape
import tornado.ioloop
import tornado.web

logger = logging.getLogger('klassenraum')

MAX_NOTEBOOK = 8 * 1024 * 1024
MAX_HANDOUT = 60 * 1024 * 1024
EXPORT_FORMATS = {'html': 'text/html', 'markdown': 'text/markdown', 'script': 'text/x-python'}
VISIBLE = ('.ipynb', '.csv', '.txt', '.png')


def teacher_only(method):
    @functools.wraps(method)
    def wrapper(self, *args, **kwargs):
        if not self.current_user.get('teacher'):
            logger.warning('%s asked for %s', self.current_user['login'], type(self).__name__)
            raise tornado.web.HTTPError(403)
        return method(self, *args, **kwargs)
    return wrapper


class Base(tornado.web.RequestHandler):
    """What all handlers share: the user, the folders, JSON errors."""

    def get_current_user(self):
        raw = self.get_secure_cookie('klasse_user', max_age_days=1)
        if raw is None:
            return None
        return tornado.escape.json_decode(raw)

    @property
    def home(self):
        root = pathlib.Path(self.settings['homes']).resolve()
        return root / self.current_user['folder']

    def os_path(self, api_path):
        """Turn the path in a request into one on disk."""
        target = (self.home / api_path.strip('/')).resolve()
        try:
            target.relative_to(self.home)
        except ValueError:
            raise tornado.web.HTTPError(404)
        if any(part.startswith('.') for part in target.relative_to(self.home).parts):
            raise tornado.web.HTTPError(404)
        return target

    def write_error(self, status_code, **kwargs):
        reason = self._reason
        if 'exc_info' in kwargs:
            logger.debug('request failed', exc_info=kwargs['exc_info'])
        self.set_header('Content-Type', 'application/json')
        self.finish(json.dumps({'status': status_code, 'message': reason}))


class ContentsHandler(Base):

    @tornado.web.authenticated
    def get(self, path):
        target = self.os_path(path)
        if target.is_dir():
            items = [
                {'name': p.name, 'dir': p.is_dir(), 'size': p.stat().st_size}
                for p in sorted(target.iterdir())
                if not p.name.startswith('.') and (p.is_dir() or p.suffix in VISIBLE)
            ]
            return self.finish({'path': path, 'items': items})
        if not target.is_file():
            raise tornado.web.HTTPError(404)
        if target.suffix == '.ipynb':
            return self.finish({'path': path, 'notebook': nbformat.read(str(target), as_version=4)})
        data = base64.b64encode(target.read_bytes()).decode('ascii')
        self.finish({'path': path, 'base64': data})

    @tornado.web.authenticated
    def put(self, path):
        """Save a notebook; the old one stays until the new one is complete."""
        if len(self.request.body) > MAX_NOTEBOOK:
            raise tornado.web.HTTPError(413)
        target = self.os_path(path)
        if target.suffix != '.ipynb':
            raise tornado.web.HTTPError(400, reason='Only notebooks can be saved')
        try:
            notebook = nbformat.reads(self.request.body.decode('utf-8'), as_version=4)
            nbformat.validate(notebook)
        except (UnicodeDecodeError, ValueError, nbformat.ValidationError):
            raise tornado.web.HTTPError(400, reason='Not a notebook')
        fd, part = tempfile.mkstemp(suffix='.part', dir=target.parent)
        with os.fdopen(fd, 'w', encoding='utf-8') as stream:
            nbformat.write(notebook, stream)
        os.replace(part, target)
        logger.info('%s saved %r', self.current_user['login'], path)
        self.set_status(204)

    @tornado.web.authenticated
    def delete(self, path):
        target = self.os_path(path)
        if target == self.home:
            raise tornado.web.HTTPError(400)
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()
        self.set_status(204)


class RenameHandler(Base):

    @tornado.web.authenticated
    def post(self, path):
        source = self.os_path(path)
        wanted = tornado.escape.json_decode(self.request.body).get('name', '')
        if not wanted or wanted != os.path.basename(wanted) or wanted.startswith('.'):
            raise tornado.web.HTTPError(400, reason='Not a file name')
        if source == self.home or not source.exists() or not wanted.endswith(source.suffix):
            raise tornado.web.HTTPError(409)
        dest = source.parent / wanted
        if dest.exists():
            raise tornado.web.HTTPError(409)
        source.rename(dest)
        self.finish({'path': str(dest.relative_to(self.home))})


class ExportHandler(Base):
    """Run nbconvert on a notebook and hand over the result."""

    @tornado.web.authenticated
    def get(self, fmt, path):
        if fmt not in EXPORT_FORMATS:
            raise tornado.web.HTTPError(404)
        source = self.os_path(path)
        if source.suffix != '.ipynb' or not source.is_file():
            raise tornado.web.HTTPError(404)
        with tempfile.TemporaryDirectory() as work:
            command = ['jupyter', 'nbconvert', '--to', fmt, '--output-dir', work, '--output', 'out', str(source)]
            logger.debug('export: %s', ' '.join(map(shlex.quote, command)))
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120)
            results = sorted(pathlib.Path(work).glob('out.*'))
            if done.returncode != 0 or not results:
                logger.info('export of %r failed: %r', path, done.stderr[-500:])
                raise tornado.web.HTTPError(500)
            body = results[0].read_bytes()
        self.set_header('Content-Type', EXPORT_FORMATS[fmt])
        self.set_header('Content-Disposition', "attachment; filename*=UTF-8''" + quote(source.stem + results[0].suffix))
        self.finish(body)


class HandoutHandler(Base):
    """Work sheets of a teacher, unpacked into the folder of a class."""

    @tornado.web.authenticated
    @teacher_only
    def post(self, course):
        courses = {c['id']: c for c in self.settings['courses']}
        if course not in courses or courses[course]['teacher'] != self.current_user['login']:
            raise tornado.web.HTTPError(404)
        upload = self.request.files.get('sheet')
        if not upload:
            raise tornado.web.HTTPError(400, reason='No archive')
        folder = os.path.realpath(courses[course]['folder'])
        written = total = 0
        with zipfile.ZipFile(io.BytesIO(upload[0]['body'])) as archive:
            for info in archive.infolist():
                path = os.path.realpath(os.path.join(folder, info.filename))
                if os.path.commonpath([folder, path]) != folder:
                    raise tornado.web.HTTPError(400, reason='Archive does not fit')
                if info.is_dir() or os.path.splitext(path)[1] not in VISIBLE:
                    continue
                total += info.file_size
                if total > MAX_HANDOUT:
                    raise tornado.web.HTTPError(413)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, 'wb') as out:
                    out.write(archive.read(info))
                written += 1
        self.finish({'written': written})


class CollectHandler(Base):

    @tornado.web.authenticated
    @teacher_only
    def get(self, course, sheet):
        """Archive of all answers to one sheet."""
        entry = next((c for c in self.settings['courses'] if c['id'] == course), None)
        if entry is None or entry['teacher'] != self.current_user['login']:
            raise tornado.web.HTTPError(404)
        name = os.path.basename(sheet)
        homes = pathlib.Path(self.settings['homes'])
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
            for pupil in entry['pupils']:
                answer = homes / pupil / 'answers' / f'{name}.ipynb'
                if answer.is_file() and not answer.is_symlink():
                    archive.write(answer, arcname=f'{pupil}.ipynb')
        self.set_header('Content-Type', 'application/zip')
        self.finish(buffer.getvalue())


class LoginHandler(Base):

    def get(self):
        self.render('login.html', next=self.get_argument('next', '/'))

    def post(self):
        login = self.get_body_argument('login')
        user = self.settings['directory'].check(login, self.get_body_argument('password'))
        if user is None:
            logger.info('login of %r failed', login)
            return self.redirect('/login')
        self.set_secure_cookie('klasse_user', json.dumps(user), httponly=True, secure=True, samesite='Lax')
        target = self.get_body_argument('next', '/')
        if not re.match(r'/(?![/\\])[^\x00-\x20\\]*\Z', target):
            target = '/'
        self.redirect(target)


def make_app(config):
    routes = [
        (r'/login', LoginHandler),
        (r'/api/contents/(.*)', ContentsHandler),
        (r'/api/rename/(.+)', RenameHandler),
        (r'/api/export/(\w+)/(.+)', ExportHandler),
        (r'/api/courses/([\w-]+)/handout', HandoutHandler),
        (r'/api/courses/([\w-]+)/collect/(.+)', CollectHandler),
        (r'/static/(.*)', tornado.web.StaticFileHandler, {'path': config['static']}),
    ]
    return tornado.web.Application(
        routes,
        cookie_secret=config.get('cookie_secret') or secrets.token_hex(32),
        login_url='/login',
        xsrf_cookies=True,
        homes=config['homes'],
        courses=config['courses'],
        directory=config['directory'],
    )
