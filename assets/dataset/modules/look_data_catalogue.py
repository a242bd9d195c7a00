"""Datasets, profiles and lineage: the service layer of the Tidemark data catalogue."""
from __future__ import annotations

import ast
import json
import logging
import operator
import ssl
import time
from pathlib import Path
from typing import Any, Iterable, Optional
from urllib.parse import quote, urlsplit
from urllib.request import HTTPSHandler, Request, build_opener

import sqlalchemy as sa
import yaml
from fastapi import APIRouter, Depends, HTTPException, Query, UploadFile
from fastapi.responses import HTMLResponse, StreamingResponse
from jinja2 import Environment, PackageLoader
from pydantic import BaseModel
from sqlalchemy.orm import Session

from tidemark.deps import current_user, get_session, settings
from tidemark.models import Dataset, Grant, Source, User

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/catalogue")
pages = Environment(loader=PackageLoader("tidemark"), autoescape=True)

SORTABLE = {"name": Dataset.name, "owner": Dataset.owner_id, "touched": Dataset.touched_at}
PROFILE_SUMS = ("COUNT(*)", "COUNT(DISTINCT {c})", "MIN({c})", "MAX({c})")
MANIFEST_BYTES = 1_000_000
OPERATORS = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


class SearchHit(BaseModel):
    id: int
    name: str
    summary: str


def chunked(path: Path, size: int = 65536) -> Iterable[bytes]:
    with path.open("rb") as handle:
        while True:
            block = handle.read(size)
            if not block:
                return
            yield block


def schema_counts(session: Session) -> dict[str, int]:
    """How many tables each of our own schemas has."""
    counts = {}
    for schema in ("raw", "curated", "mart"):
        statement = f"SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '{schema}'"
        counts[schema] = session.execute(sa.text(statement)).scalar_one()
    return counts


def may_read(session: Session, user: User, dataset: Dataset) -> bool:
    if dataset.is_public or dataset.owner_id == user.id or user.is_steward:
        return True
    grant = session.query(Grant).filter_by(dataset_id=dataset.id, user_id=user.id).first()
    return grant is not None


@router.get("/search", response_model=list[SearchHit])
def search(
    q: str = "",
    tag: Optional[str] = None,
    sort: str = "name",
    limit: int = Query(25, ge=1, le=100),
    session: Session = Depends(get_session),
    user: User = Depends(current_user),
) -> list[SearchHit]:
    """Datasets the caller can see whose name or summary holds every word of the query."""
    query = session.query(Dataset)
    if not user.is_steward:
        granted = session.query(Grant.dataset_id).filter(Grant.user_id == user.id)
        query = query.filter(
            sa.or_(
                Dataset.is_public.is_(True),
                Dataset.owner_id == user.id,
                Dataset.id.in_(granted),
            )
        )
    for word in q.split()[:6]:
        pattern = f"%{word}%"
        query = query.filter(sa.or_(Dataset.name.ilike(pattern), Dataset.summary.ilike(pattern)))
    if tag:
        query = query.filter(sa.text(":tag = ANY(dataset.tags)").bindparams(tag=tag))
    column = SORTABLE.get(sort)
    if column is None:
        raise HTTPException(422, "unknown sort field")
    rows = query.order_by(column).limit(limit).all()
    logger.debug("search gave %d rows", len(rows))
    return [SearchHit(id=row.id, name=row.name, summary=row.summary or "") for row in rows]


def profile_column(
    session: Session, engine: sa.engine.Engine, dataset: Dataset, column: str, where_value: Optional[str]
) -> dict[str, Any]:
    """Figures about one column of a table, optionally for one partition of it."""
    known = {c["name"] for c in sa.inspect(engine).get_columns(dataset.table_name, dataset.schema_name)}
    if column not in known:
        raise HTTPException(404, "no such column")
    quoted = engine.dialect.identifier_preparer
    target = f"{quoted.quote_identifier(dataset.schema_name)}.{quoted.quote_identifier(dataset.table_name)}"
    sums = ", ".join(s.format(c=quoted.quote_identifier(column)) for s in PROFILE_SUMS)
    statement = f"SELECT {sums} FROM {target}"
    params: dict[str, Any] = {}
    if where_value is not None and dataset.partition_column:
        statement += f" WHERE {quoted.quote_identifier(dataset.partition_column)} = :part"
        params["part"] = where_value
    started = time.monotonic()
    with engine.connect() as connection:
        total, distinct, low, high = connection.execute(sa.text(statement), params).one()
    figures = {"rows": total, "distinct": distinct, "min": str(low), "max": str(high)}
    dataset.profile = {**(dataset.profile or {}), column: figures}
    session.commit()
    logger.info("profiled dataset %d in %.2fs", dataset.id, time.monotonic() - started)
    return figures


@router.get("/datasets/{dataset_id}/sample")
def download_sample(
    dataset_id: int,
    part: str = "part-0.csv",
    session: Session = Depends(get_session),
    user: User = Depends(current_user),
) -> StreamingResponse:
    dataset = session.get(Dataset, dataset_id)
    if dataset is None or not may_read(session, user, dataset):
        raise HTTPException(404)
    folder = (Path(settings.sample_dir) / str(dataset.id)).resolve()
    path = (folder / part).resolve()
    if path.parent != folder or path.suffix not in {".csv", ".parquet"}:
        raise HTTPException(404)
    if not path.is_file():
        raise HTTPException(404, "no sample has been taken yet")
    kind = "text/csv" if path.suffix == ".csv" else "application/octet-stream"
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(path.name)}",
        "Content-Length": str(path.stat().st_size),
    }
    return StreamingResponse(chunked(path), media_type=kind, headers=headers)


@router.post("/sources/{source_id}/manifest")
async def upload_manifest(
    source_id: int,
    upload: UploadFile,
    session: Session = Depends(get_session),
    user: User = Depends(current_user),
) -> dict[str, int]:
    """Create or update the datasets which a source describes in its manifest."""
    source = session.get(Source, source_id)
    if source is None:
        raise HTTPException(404)
    if source.owner_id != user.id and not user.is_steward:
        raise HTTPException(403)
    raw = await upload.read(MANIFEST_BYTES + 1)
    if len(raw) > MANIFEST_BYTES:
        raise HTTPException(413)
    try:
        manifest = yaml.load(raw, Loader=yaml.SafeLoader)
    except yaml.YAMLError as problem:
        logger.info("manifest of source %d: %s", source_id, type(problem).__name__)
        raise HTTPException(422, "manifest cannot be read") from problem
    if not isinstance(manifest, dict) or not isinstance(manifest.get("datasets"), list):
        raise HTTPException(422, "manifest needs a list of datasets")
    created = updated = 0
    for entry in manifest["datasets"][:500]:
        name = str(entry.get("name", "")).strip().lower()
        if not name.replace("_", "").isalnum():
            continue
        dataset = session.query(Dataset).filter_by(source_id=source_id, name=name).first()
        if dataset is None:
            dataset = Dataset(source_id=source_id, name=name, owner_id=user.id)
            session.add(dataset)
            created += 1
        else:
            updated += 1
        dataset.summary = str(entry.get("summary", ""))[:500]
        dataset.tags = [str(tag)[:40] for tag in entry.get("tags", [])][:20]
    session.commit()
    return {"created": created, "updated": updated}


def check_expectation(expression: str, figures: dict[str, Any]) -> bool:
    """Evaluate a quality rule such as ``distinct >= 10`` on the figures of a profile."""
    tree = ast.parse(expression, mode="eval").body
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1:
        raise ValueError("a rule compares one figure with one value")
    left, right = tree.left, tree.comparators[0]
    if not isinstance(left, ast.Name) or left.id not in figures:
        raise ValueError("a rule begins with the name of a figure")
    compare = OPERATORS.get(type(tree.ops[0]))
    if compare is None:
        raise ValueError("comparison not known")
    value = ast.literal_eval(right)
    actual = figures[left.id]
    if isinstance(value, (int, float)):
        actual = float(actual)
    return bool(compare(actual, value))


class LineageClient:
    """Reads lineage from the collectors which the operators have set up."""

    def __init__(self, collectors: dict[str, str], token: str, ca_file: Optional[str] = None) -> None:
        self.collectors = collectors
        self.token = token
        context = ssl.create_default_context(cafile=ca_file)
        self.opener = build_opener(HTTPSHandler(context=context))

    def upstream(self, collector: str, dataset: str, depth: int = 2) -> list[dict[str, str]]:
        base = self.collectors.get(collector)
        if base is None or urlsplit(base).scheme != "https":
            raise KeyError("collector is not configured")
        url = f"{base}/v1/upstream/{quote(dataset, safe='')}?depth={int(depth)}"
        request = Request(url, headers={"Authorization": f"Bearer {self.token}"})
        logger.info("lineage request to collector %r, depth %d", collector, depth)
        with self.opener.open(request, timeout=10) as answer:
            payload = json.loads(answer.read(MANIFEST_BYTES))
        edges = []
        for edge in payload.get("edges", []):
            edges.append({"from": str(edge["from"]), "to": str(edge["to"]), "job": str(edge.get("job", ""))})
        return edges


@router.get("/datasets/{dataset_id}/card", response_class=HTMLResponse)
def dataset_card(
    dataset_id: int,
    note: str = "",
    session: Session = Depends(get_session),
    user: User = Depends(current_user),
) -> HTMLResponse:
    """A small card for embedding into the intranet."""
    dataset = session.get(Dataset, dataset_id)
    if dataset is None or not may_read(session, user, dataset):
        raise HTTPException(404)
    body = pages.from_string(
        "<section class='card'><h3>{{ d.name }}</h3><p>{{ d.summary }}</p><em>{{ note }}</em></section>"
    )
    text = body.render(d=dataset, note=note[:200])
    return HTMLResponse(text, headers={"Cache-Control": "private, max-age=60"})
