"""Fetches the title of a link that somebody posted in the chat."""
import re

import requests
from fastapi import FastAPI, HTTPException

app = FastAPI()
TITLE = re.compile(r"<title[^>]*>([^<]{1,200})</title>", re.IGNORECASE)


@app.get("/preview")
def preview(url: str):
    try:
        answer = requests.get(url, timeout=5)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise HTTPException(status_code=502, detail="the page did not answer") from error
    match = TITLE.search(answer.text)
    return {"url": url, "title": match.group(1).strip() if match else url}
