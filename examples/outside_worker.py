#!/usr/bin/env python3
"""Works on what callWebhook sends: counts the words of {"texts": [...]}. Python's standard library is all it needs.

  GATEHOUSE_URL=http://127.0.0.1:8080 GATEHOUSE_API_KEY=gh_… GATEHOUSE_WEBHOOK_SECRET=whsec_… PORT=9000 python3 outside_worker.py

The key wants the scope jobs:work and no more; rotateWebhookSecret shows the secret."""
import base64, hashlib, hmac, json, os, threading, time, urllib.error, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

API, KEY = os.environ["GATEHOUSE_URL"] + "/graphql", os.environ["GATEHOUSE_API_KEY"]
SECRET = base64.b64decode(os.environ["GATEHOUSE_WEBHOOK_SECRET"].removeprefix("whsec_"))
WINDOW, MOST = 300, 1 << 20  # seconds that a message may be old; bytes that it may have


def genuine(headers, body):
    """Whether Gatehouse has signed the message, and not long ago."""
    sent = headers.get("webhook-timestamp", "")
    signed = f"{headers.get('webhook-id')}.{sent}.".encode() + body
    want = b"v1," + base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest())
    given = headers.get("webhook-signature", "").encode().split()
    return sent.isdigit() and abs(time.time() - int(sent)) <= WINDOW and any(hmac.compare_digest(want, s) for s in given)


def say(mutation, **said):
    """Calls a mutation, again and again for a minute while Gatehouse is away; False: the attempt is over, stop."""
    kind = mutation[0].upper() + mutation[1:] + "Input"
    query = f"mutation($in: {kind}!) {{ {mutation}(input: $in) {{ userErrors {{ code message }} }} }}"
    request = urllib.request.Request(API, json.dumps({"query": query, "variables": {"in": said}}).encode(),
                                     {"Content-Type": "application/json", "Authorization": "Bearer " + KEY})
    for left in reversed(range(60)):
        try:
            answer = json.load(urllib.request.urlopen(request, timeout=10))
            break
        except OSError as away:  # refused connections, time-outs, and HTTP errors
            if left == 0 or getattr(away, "code", 500) < 500:
                raise
            time.sleep(1)
    if answer.get("errors"):
        raise RuntimeError(answer["errors"])
    for error in answer["data"][mutation]["userErrors"]:
        print(f"{said['jobId']}: {error['code']}: {error['message']}", flush=True)
    return not answer["data"][mutation]["userErrors"]


def work(job, texts, pause):
    """Counts, reports after each text, and brings the sum."""
    words = 0
    for done, text in enumerate(texts, start=1):
        time.sleep(pause)  # so long it takes
        words += len(text.split())
        if not say("reportJobProgress", **job, done=done, total=len(texts), stage="counting", log=f"text {done}: {words} words"):
            return
    say("completeJob", **job, result={"words": words})


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        size = int(self.headers.get("content-length", 0))
        body = self.rfile.read(size) if size <= MOST else b""
        if not genuine(self.headers, body):
            return self.answer(401)
        try:
            payload = json.loads(body)
            texts, pause = [str(text) for text in payload["texts"]], float(payload.get("pauseSeconds", 0))
        except (ValueError, TypeError, KeyError):
            return self.answer(400)
        job = {"jobId": self.headers["webhook-id"], "token": self.headers["gatehouse-token"]}
        threading.Thread(target=work, args=(job, texts, pause)).start()
        self.answer(202)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Receiver)
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
