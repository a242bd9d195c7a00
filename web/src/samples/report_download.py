"""Serves monthly reports to signed-in customers."""
import os

from flask import Flask, abort, send_file, session

app = Flask(__name__)
app.secret_key = os.environ["REPORTS_SECRET_KEY"]
REPORTS = "/srv/reports"


def customer_folder():
    customer = session.get("customer_id")
    if customer is None:
        abort(401)
    return os.path.join(REPORTS, str(int(customer)))


@app.get("/reports")
def list_reports():
    names = sorted(os.listdir(customer_folder()))
    return {"reports": [name for name in names if name.endswith(".pdf")]}


@app.get("/reports/<path:name>")
def download(name):
    path = os.path.join(customer_folder(), name)
    if not os.path.exists(path):
        abort(404)
    return send_file(path, as_attachment=True)
