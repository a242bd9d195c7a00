"""Invoices of a small shop: customers see theirs, staff may cancel any."""
from functools import wraps

from flask import Flask, abort, g, jsonify

from shop.models import Invoice, db

app = Flask(__name__)


def signed_in(view):
    @wraps(view)
    def wrapper(*args, **kwargs):
        if g.get("user") is None:
            abort(401)
        return view(*args, **kwargs)

    return wrapper


@app.get("/invoices")
@signed_in
def own_invoices():
    invoices = Invoice.query.filter_by(customer_id=g.user.id).all()
    return jsonify([invoice.summary() for invoice in invoices])


@app.get("/invoices/<int:invoice_id>")
@signed_in
def one_invoice(invoice_id):
    invoice = Invoice.query.get_or_404(invoice_id)
    return jsonify(invoice.details())


@app.post("/invoices/<int:invoice_id>/cancel")
def cancel_invoice(invoice_id):
    invoice = Invoice.query.get_or_404(invoice_id)
    invoice.status = "cancelled"
    db.session.commit()
    return jsonify(invoice.summary())
