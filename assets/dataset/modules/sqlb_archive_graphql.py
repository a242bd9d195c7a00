import base64
import functools
import logging
import operator
import pickle
import random
import re
import secrets

import graphene
import records
import yaml
from graphql import GraphQLError
from jinja2 import Environment, PackageLoader
from jinja2.sandbox import SandboxedEnvironment
from peewee import (SQL, AutoField, CharField, ForeignKeyField, IntegerField, Model, TextField, fn)
from playhouse.db_url import connect
from sqlalchemy import text

from archive import config
from archive.core import engine, redis

log = logging.getLogger('archive.graph')
db = connect(config.DATABASE_URL)

PAGE_LIMIT = 100
RECORDING_ORDER = {'TITLE': 'title', 'YEAR': 'year', 'LENGTH': 'seconds'}
META_KEY = re.compile(r'[a-z]+(?:_[a-z]+)*')
env = SandboxedEnvironment(autoescape=True)
pages = Environment(loader=PackageLoader('archive'), autoescape=True)


class Base(Model):
    class Meta:
        database = db


class Artist(Base):
    id = AutoField()
    name = CharField()
    country = CharField(max_length=2)


class Recording(Base):
    id = AutoField()
    title = CharField()
    year = IntegerField(null=True)
    seconds = IntegerField()
    artist = ForeignKeyField(Artist, backref='recordings')
    notes = TextField(default='')
    curator = CharField()


class RecordingType(graphene.ObjectType):
    id = graphene.ID()
    title = graphene.String()
    year = graphene.Int()
    seconds = graphene.Int()


class CountType(graphene.ObjectType):
    label = graphene.String()
    amount = graphene.Int()


def signed_in(resolver):
    @functools.wraps(resolver)
    def inner(root, info, **args):
        if info.context.get('user') is None:
            raise GraphQLError('Please sign in.')
        return resolver(root, info, **args)
    return inner


def curator_only(resolver):
    @functools.wraps(resolver)
    def inner(root, info, **args):
        user = info.context.get('user')
        if user is None or 'curator' not in user.roles:
            raise GraphQLError('Curators only.')
        return resolver(root, info, **args)
    return inner


def encode_cursor(offset):
    return base64.urlsafe_b64encode(b'o:%d' % offset).decode()


def decode_cursor(cursor):
    if not cursor:
        return 0
    try:
        kind, _, offset = base64.urlsafe_b64decode(cursor).decode().partition(':')
        return max(0, int(offset)) if kind == 'o' else 0
    except ValueError:
        raise GraphQLError('Bad cursor.')


class Query(graphene.ObjectType):
    recordings = graphene.List(RecordingType, search=graphene.String(), country=graphene.String(),
                               order=graphene.String(), first=graphene.Int(), after=graphene.String())
    lyrics = graphene.List(RecordingType, phrase=graphene.String(required=True), lang=graphene.String())
    similar = graphene.List(RecordingType, to=graphene.ID(required=True), genre=graphene.String())
    counts = graphene.List(CountType, meta=graphene.String(required=True), year=graphene.Int())
    rights = graphene.List(graphene.String, holder=graphene.String(required=True))
    my_lists = graphene.List(graphene.String, named=graphene.String())

    def resolve_recordings(root, info, search=None, country=None, order='TITLE', first=20, after=None):
        query = Recording.select(Recording, Artist).join(Artist)
        if search:
            query = query.where(fn.LOWER(Recording.title).contains(search.lower()))
        if country:
            query = query.where(SQL('t2.country = %s', [country]))
        column = RECORDING_ORDER.get(order)
        if column is None:
            raise GraphQLError('Cannot sort by that.')
        first = min(max(first, 1), PAGE_LIMIT)
        query = query.order_by(SQL('t1.' + column)).limit(first).offset(decode_cursor(after))
        return list(query)

    def resolve_lyrics(root, info, phrase, lang='english'):
        phrase = ' '.join(phrase.split())[:200]
        if not phrase:
            return []
        with engine.connect() as conn:
            found = conn.execute(
                text('SELECT r.id, r.title, r.year, r.seconds FROM recording r JOIN lyric l ON l.recording_id = r.id '
                     'WHERE to_tsvector(CAST(:lang AS regconfig), l.body) @@ phraseto_tsquery(CAST(:lang AS regconfig), :phrase) '
                     'LIMIT 50'),
                {'lang': lang, 'phrase': phrase})
            return [RecordingType(**row._mapping) for row in found]

    @signed_in
    def resolve_similar(root, info, to, genre=None):
        sql = 'SELECT r.* FROM recording r JOIN neighbour n ON n.other_id = r.id WHERE n.recording_id = %s'
        args = [to]
        if genre:
            sql += ' AND r.genre = %s'
            args.append(genre)
        sql += ' ORDER BY n.distance LIMIT 12'
        return list(Recording.raw(sql, *args))

    @curator_only
    def resolve_counts(root, info, meta, year=None):
        if not META_KEY.fullmatch(meta):
            raise GraphQLError('Bad key.')
        where = 'WHERE year = %s' if year is not None else ''
        args = (year,) if year is not None else ()
        cur = db.execute_sql(
            "SELECT meta->>'%s' AS label, COUNT(*) FROM recording %s GROUP BY 1 ORDER BY 2 DESC" % (meta, where), args)
        return [CountType(label=label, amount=amount) for label, amount in cur.fetchall()]

    @curator_only
    def resolve_rights(root, info, holder):
        with records.Database(config.RIGHTS_URL) as rights:
            rows = rights.query('SELECT work, share FROM rights WHERE holder = :holder ORDER BY work', holder=holder)
            return ['{}: {}%'.format(r.work, r.share) for r in rows]

    @signed_in
    def resolve_my_lists(root, info, named=None):
        user = info.context['user']
        sql, binds = 'SELECT name FROM playlist WHERE owner = :owner', {'owner': user.id}
        if named:
            sql, binds['named'] = sql + ' AND name LIKE :named', named + '%'
        with engine.connect() as conn:
            return [r[0] for r in conn.execute(text(sql + ' ORDER BY name'), binds)]


class EditNotes(graphene.Mutation):
    class Arguments:
        recording = graphene.ID(required=True)
        notes = graphene.String(required=True)

    ok = graphene.Boolean()

    @signed_in
    def mutate(root, info, recording, notes):
        user = info.context['user']
        changed = (Recording.update(notes=notes.strip()[:4000])
                   .where(Recording.id == recording, Recording.curator == user.id)
                   .execute())
        if not changed:
            raise GraphQLError('No such recording.')
        log.info('notes of %r changed by %s', recording, user.id)
        return EditNotes(ok=True)


class ShareList(graphene.Mutation):
    class Arguments:
        name = graphene.String(required=True)

    token = graphene.String()

    @signed_in
    def mutate(root, info, name):
        user, token = info.context['user'], secrets.token_urlsafe(18)
        with engine.begin() as conn:
            done = conn.execute(text('UPDATE playlist SET share = :token WHERE owner = :owner AND name = :name'),
                                {'token': token, 'owner': user.id, 'name': name})
        if done.rowcount == 0:
            raise GraphQLError('No such list.')
        return ShareList(token=token)


def label_html(template, recording):
    """Shelf label from a template that the branch keeps."""
    return env.from_string(template).render(title=recording.title, year=recording.year, artist=recording.artist.name)


def load_rules(stream):
    rules = yaml.safe_load(stream) or {}
    bad = [k for k in rules if not META_KEY.fullmatch(str(k))]
    if bad:
        raise ValueError('bad keys: %r' % bad)
    return rules


def clone_model(recording):
    # a deep copy without the database handle
    return pickle.loads(pickle.dumps(recording.__data__))


def record_of_the_day():
    newest = Recording.select(fn.MAX(Recording.id)).scalar() or 0
    return Recording.get_or_none(Recording.id == random.randint(0, newest))


def about_page(branch):
    return pages.get_template('about.html').render(branch=branch, seconds=total_seconds())


def total_seconds():
    tables = ('recording', 'fragment')
    parts = ['SELECT COALESCE(SUM(seconds), 0) FROM %s' % t for t in tables]
    rows = db.execute_sql(' UNION ALL '.join(parts)).fetchall()
    return functools.reduce(operator.add, (r[0] for r in rows), 0)


def cached_counts(meta):
    raw = redis.get('counts:' + meta)
    if raw is None:
        return None
    pairs = (line.rsplit('\t', 1) for line in raw.decode().splitlines())
    return {label: int(n) for label, n in pairs}
