"""Lets members upload a picture of themselves."""
import os

from flask import Flask, redirect, request, session, url_for

app = Flask(__name__)
app.secret_key = os.environ["MEMBERS_SECRET_KEY"]
app.config["AVATARS"] = os.path.join(app.static_folder, "avatars")


@app.post("/avatar")
def upload_avatar():
    if "member" not in session:
        return redirect(url_for("login"))
    picture = request.files["picture"]
    folder = os.path.join(app.config["AVATARS"], str(session["member"]))
    os.makedirs(folder, exist_ok=True)
    picture.save(os.path.join(folder, picture.filename))
    return redirect(url_for("profile"))


@app.get("/login")
def login():
    return "Please sign in first."


@app.get("/profile")
def profile():
    return "Your picture was saved."
