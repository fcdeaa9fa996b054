"""A small web application."""

import os

from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/")
def index():
    """Say hello."""
    return jsonify(hello="from inside", worker=os.getpid() != 2)
