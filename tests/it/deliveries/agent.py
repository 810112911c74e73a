#!/usr/bin/env python3
"""An agent's terminal program, as far as notices are concerned. `agent.json` where it works has its settings:

  turn     0        seconds of a turn after each text that is submitted
  busy     "queue"  what comes while one runs: "queue" takes it all the same, "lose" does not read it
  hides    false    whether its input is away meanwhile

As long as there is a file `ask` there, it shows a dialog. `agent.log` has what it took, one JSON a line, with the time
at which its first byte came."""
import json, os, select, termios, time, tty

try:
    settings = json.load(open("agent.json"))
except OSError:
    settings = {}
turn, busy, hides = settings.get("turn", 0), settings.get("busy", "queue"), settings.get("hides", False)
log = open("agent.log", "a")

def note(**said):
    log.write(json.dumps({"pid": os.getpid(), **said}) + "\n")
    log.flush()

def show(text):
    os.write(1, text.replace("\n", "\r\n").encode())

def box():
    show("\n> \n(shift+tab to cycle)\n")

tty.setraw(0)
note(event="start")
os.write(1, b"\x1b[?2004h")
box()
text, until, pasting, asking, came = b"", 0.0, False, False, 0.0
while True:
    ready, _, _ = select.select([0], [], [], 0.02)
    now = time.monotonic()
    if until and now >= until:
        until = 0.0
        if hides:
            box()
    if os.path.exists("ask") != asking:
        asking = not asking
        show("\nDo you trust this folder?\n\n❯ 1. Yes\n  2. No\n\nEnter to confirm\n") if asking else box()
        note(event="asks" if asking else "goes on")
    if not ready:
        continue
    data = os.read(0, 65536)
    if not data:
        break
    if asking:
        note(event="key in a dialog", hex=data.hex())
        continue
    if until and busy == "lose":
        note(event="lost", hex=data[:40].hex())
        continue
    while data:
        if data.startswith(b"\x1b[200~") or data.startswith(b"\x1b[201~"):
            pasting, data = data.startswith(b"\x1b[200~"), data[6:]
        elif data[:1] == b"\r" and not pasting:
            note(event="took", text=text.decode("utf-8", "replace"), came=came)
            show("\n" + ("working\n" * 8 if hides and turn else "\n"))
            text, data, until = b"", data[1:], now + turn if turn else 0.0
            if not (hides and turn):
                box()
        elif data[:1] == b"\x15":
            text, data = b"", data[1:]
            show("\n")
            box()
        elif data[:1] == b"\x03" and not pasting:
            note(event="end")
            raise SystemExit(0)
        else:
            came = came if text else time.time()
            text += data[:1]
            os.write(1, data[:1])
            data = data[1:]
