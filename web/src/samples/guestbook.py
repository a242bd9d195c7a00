"""A guest book that shows what visitors wrote."""
from datetime import datetime, timezone
from flask import Flask, make_response, redirect, request

app = Flask(__name__)
entries = []


@app.post("/sign")
def sign():
    entries.append(
        {
            "name": request.form["name"],
            "text": request.form["text"],
            "when": datetime.now(timezone.utc),
        }
    )
    return redirect("/")


@app.get("/")
def show():
    items = []
    for entry in reversed(entries):
        items.append(
            "<li><b>" + entry["name"] + "</b> "
            + entry["when"].strftime("%d %B %Y")
            + "<p>" + entry["text"] + "</p></li>"
        )
    page = "<h1>Guest book</h1><ul>" + "".join(items) + "</ul>"
    response = make_response(page)
    response.headers["Content-Type"] = "text/html; charset=utf-8"
    return response
