"""A server that speaks S3 (moto, in memory), which checks signatures and knows one bucket.

Prints one line of JSON: the port, a second one behind which the same server fails now and then, and keys of two users: one
may do everything, one may not delete but locks. Then takes orders, a line of JSON each, and prints `done` after each:

    {"dump": FOLDER, "prefix": "a/b"}     the objects below the prefix become files
    {"fill": NUMBER, "prefix": "a/b"}     so many packs that nobody needs

Ends with its standard input.
"""

import hashlib
import json
import logging
import os
import shutil
import socket
import sys
import threading

# Of the calls, only those that make the users go unchecked.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "1000"
for name, value in {"AWS_ACCESS_KEY_ID": "first", "AWS_SECRET_ACCESS_KEY": "first", "AWS_DEFAULT_REGION": "us-east-1"}.items():
    os.environ[name] = value
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]

import boto3
from moto import settings
from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

BUCKET = "vault"
logging.getLogger("werkzeug").setLevel(logging.ERROR)


class Flaky:
    """Every fourth request is answered by 503, every fifth with a body that ends early, every seventh not at all."""

    def __init__(self, inner):
        self.inner, self.count, self.lock = inner, 0, threading.Lock()

    def __call__(self, environ, start_response):
        with self.lock:
            self.count += 1
            count = self.count
        connection = environ["werkzeug.socket"]
        if count % 4 == 0:
            self.read(environ)
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]
        if count % 7 == 0:
            connection.shutdown(socket.SHUT_RDWR)
            return [b""]
        if count % 5 == 0 and environ["REQUEST_METHOD"] == "GET":
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\n<half")
            connection.shutdown(socket.SHUT_RDWR)
            return [b""]
        return self.inner(environ, start_response)

    @staticmethod
    def read(environ):
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))


def serve(application):
    server = make_server("127.0.0.1", 0, application, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def user(iam, name, statements):
    iam.create_user(UserName=name)
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}


def main():
    application = DomainDispatcherApplication(create_backend_app)
    port = serve(application)
    address = f"http://127.0.0.1:{port}"
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket=BUCKET)
    iam = boto3.client("iam", endpoint_url=address)
    both = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    adding = {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject", "s3:PutObject"], "Resource": both}
    locks = {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": f"arn:aws:s3:::{BUCKET}/*/locks/*"}
    told = {
        "port": port,
        "flaky_port": serve(Flaky(application)),
        "owner": user(iam, "owner", [everything]),
        "adder": user(iam, "adder", [adding, locks]),
    }
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    keys = {"aws_access_key_id": told["owner"]["id"], "aws_secret_access_key": told["owner"]["secret"]}
    s3 = boto3.client("s3", endpoint_url=address, **keys)
    # Its own way in: a request for each of a thousand objects takes a while.
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    print(json.dumps(told), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        prefix = order["prefix"] + "/"
        if "dump" in order:
            dump(s3, prefix, order["dump"])
        for number in range(order.get("fill", 0)):
            body = b"%d" % number
            name = hashlib.sha256(body).hexdigest()
            backend.put_object(BUCKET, f"{prefix}data/{name[:2]}/{name}", body)
        print("done", flush=True)


def dump(s3, prefix, folder):
    shutil.rmtree(folder, ignore_errors=True)
    for kind in ["keys", "snapshots", "data", "index", "locks"]:
        os.makedirs(os.path.join(folder, kind))
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
        for entry in page.get("Contents", []):
            path = os.path.join(folder, entry["Key"][len(prefix):])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read())


if __name__ == "__main__":
    main()
