"""Keeps a shopping basket in a cookie, so that the server needs no session store."""
import base64
import pickle

from flask import Flask, jsonify, make_response, request

app = Flask(__name__)
COOKIE = "basket"


class Basket:
    def __init__(self):
        self.items = {}

    def add(self, article, amount):
        self.items[article] = self.items.get(article, 0) + amount


def load_basket():
    raw = request.cookies.get(COOKIE)
    if not raw:
        return Basket()
    return pickle.loads(base64.b64decode(raw))


@app.post("/basket/<article>")
def add_article(article):
    basket = load_basket()
    basket.add(article, int(request.form.get("amount", 1)))
    response = make_response(jsonify(basket.items))
    value = base64.b64encode(pickle.dumps(basket)).decode("ascii")
    response.set_cookie(COOKIE, value, httponly=True, samesite="Lax", secure=True)
    return response
