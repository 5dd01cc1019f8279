"""Is the server that this container runs answering? `python healthy.py URL [HOST]`, exit code 0 or 1.

The slim images carry neither curl nor wget, and a plain request isn't enough for MLflow: `/health` answers 200 to
any caller, while a caller that is not on the list of allowed hosts gets 403 from every real path. So this asks a real
path, under the name that the other containers use (HOST), with their user and password.
"""

import base64
import os
import sys
import urllib.request


def main(url: str, host: str = "") -> int:
    request = urllib.request.Request(url)
    if host:
        request.add_header("Host", host)
    if "MLFLOW_TRACKING_PASSWORD" in os.environ:
        pair = f"{os.environ['MLFLOW_TRACKING_USERNAME']}:{os.environ['MLFLOW_TRACKING_PASSWORD']}"
        request.add_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=8) as answer:
            return 0 if answer.status == 200 else 1
    except OSError as error:  # refused, timed out, or an HTTP status (urllib's HTTPError is an OSError)
        print(f"{url}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
